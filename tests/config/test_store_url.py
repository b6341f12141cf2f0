"""Where the store is."""

import pytest

from helexa.config.store_url import Location, location_of


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (None, Location(path="/state/store.db")),
        ("sqlite:///data/keys.db", Location(path="/data/keys.db")),
        ("postgresql://me@db/helexa", Location(url="postgresql://me@db/helexa")),
        ("postgres://db:5433/x?sslmode=require", Location(url="postgresql://db:5433/x?sslmode=require")),
        ("postgresql://me@/x?host=/run/pg", Location(url="postgresql://me@/x?host=/run/pg")),
    ],
)  # fmt: skip
def test_a_url_names_a_file_or_a_server(url: str | None, location: Location) -> None:
    assert location_of(url, "/state") == location
    assert str(location) == (location.path or location.url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:secret@db/x", "store.password_file"),
        ("postgresql://db/x?password=secret", "store.password_file"),
        ("mysql://db/x", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://a b", "postgresql://USER@HOST/DATABASE"),
        ("sqlite://relative.db", "sqlite:///absolute/path"),
        ("sqlite:///folder/", "sqlite:///absolute/path"),
        ("sqlite:///x?mode=ro", "sqlite:///absolute/path"),
        ("", "postgresql://"),
    ],
)
def test_others_are_refused_with_what_is_allowed_and_without_the_password(
    url: str, told: str
) -> None:
    with pytest.raises(ValueError, match="write|password") as caught:
        location_of(url, "/state")
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
