"""Names of models that are known without asking anybody, for completion."""


def catalogue_names() -> tuple[str, ...]:
    """Return the names of the catalogue."""
    from helexa.model_runtime.models.catalogue import names

    return names()
