"""Files of a model hub: `huggingface_hub` says where a file is and what it must be.

The library resolves names, revisions and access; the bytes come through `transfer`, which resumes
over process ends (the library throws partial files away). Endpoint and token come from our own
configuration: the library's own sources of both (its environment variables and its login file) are
switched off by passing them explicitly.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from helexa.model_runtime.models.source import HubSource
from helexa.model_runtime.models.transfer import Remote
from helexa.model_runtime.models.worker import Stop, in_thread
from helexa.util.backoff import Backoff
from helexa.util.errors import AuthError, SourceError
from helexa.util.regular_files import read_regular

ENDPOINT: Final = "https://huggingface.co"
_METADATA_TIMEOUT_S: Final = 15.0
_RETRIES: Final = Backoff(initial_s=1.0, ceiling_s=15.0)
_TOKEN_BYTES_MAX: Final = 4096
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub describes it. `sha256` is known for large files only; `etag` names this
    very content."""

    remote: Remote
    etag: str
    sha256: str | None


class HubFetcher:
    """Finds files on one hub. `backoff` says how long to wait before a cut download goes on."""

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        token_file: Path | None = None,
        backoff: Backoff = _RETRIES,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token_file = token_file
        self.backoff = backoff

    async def find(self, source: HubSource) -> HubFile:
        """Return where a file is and what it must be.

        Raises SourceError: HX-0561 when the hub has no such file, HX-0562 when it cannot be asked,
        HX-0563 without the library; AuthError (HX-0564) when access is refused.
        """
        return await in_thread(partial(self._find, source))

    def _find(self, source: HubSource, _stop: Stop) -> HubFile:
        try:
            import huggingface_hub  # noqa: PLC0415 an optional extra, and slow to import
        except ImportError as error:
            raise SourceError(
                "hf: sources need the package huggingface_hub",
                error_id="HX-0563",
                hint='Run `pip install "helexa[hub]"`.',
            ) from error
        token = self._token()
        url = huggingface_hub.hf_hub_url(
            source.repository, source.file, revision=source.revision, endpoint=self._endpoint
        )
        name = f"hf:{source.repository}/{source.file}"
        try:
            found = huggingface_hub.get_hf_file_metadata(
                url, token=token or False, timeout=_METADATA_TIMEOUT_S, library_name="helexa"
            )
        except Exception as error:  # The library lets through those of its HTTP clients.
            raise _told(name, self._endpoint, error, huggingface_hub.errors) from error
        return self._described(name, found, token)

    def _described(self, name: str, found: Any, token: str) -> HubFile:
        if not found.etag or found.size is None or found.size <= 0:
            raise SourceError(f"the hub tells no size of {name}", error_id="HX-0562")
        headers = {}
        if token and _origin(found.location) == _origin(self._endpoint):
            # Large files lie elsewhere, behind a signed address: the token is none of their
            # business.
            headers["Authorization"] = f"Bearer {token}"
        digest = found.etag if _SHA256.fullmatch(found.etag) else None
        remote = Remote(found.location, found.size, headers, name)
        return HubFile(remote, found.etag, digest)

    def _token(self) -> str:
        if self._token_file is None:
            return ""
        try:
            data = read_regular(self._token_file, _TOKEN_BYTES_MAX, follow=True)
        except OSError as error:
            raise AuthError(
                f"the hub token file {self._token_file} cannot be read: {error.strerror}",
                error_id="HX-0565",
            ) from error
        token = data.decode("ascii", "replace").strip()
        if not re.fullmatch(r"[!-~]+", token):
            raise AuthError(
                f"the hub token file {self._token_file} does not hold one line of ASCII",
                error_id="HX-0565",
            )
        return token


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _told(name: str, endpoint: str, error: Exception, errors: Any) -> Exception:
    """Return our error for one of the library's."""
    if isinstance(error, errors.GatedRepoError):
        return _refused(name)
    if isinstance(
        error,
        errors.RepositoryNotFoundError | errors.RevisionNotFoundError | errors.EntryNotFoundError,
    ):
        return SourceError(
            f"the hub at {endpoint} has no {name}",
            error_id="HX-0561",
            hint="Check the spelling; a private repository needs a token file.",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in {401, 403}:
        return _refused(name)
    reason = f"it answers {status}" if status else f"{type(error).__name__}: {error}"
    return SourceError(
        f"the hub at {endpoint} cannot be asked for {name}: {reason[:300]}",
        error_id="HX-0562",
        hint="Check the network, or put the file into a model folder.",
    )


def _refused(name: str) -> AuthError:
    return AuthError(
        f"the hub refuses access to {name}",
        error_id="HX-0564",
        hint="Accept the model's licence on the hub and give its token in a file.",
    )
