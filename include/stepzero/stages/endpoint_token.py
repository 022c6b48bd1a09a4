"""The token that whoever asks an endpoint shows."""

from __future__ import annotations

from pathlib import Path

from stepzero.core.errors import StageError, bare


def authorisation(token_file: str | None) -> dict[str, str]:
    """Return the header that shows an endpoint's token; none where it asks for none.

    Raises:
        StageError: The file cannot be read.
    """
    if token_file is None:
        return {}
    try:
        token = Path(token_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StageError(
            f"token file {token_file}",
            value=bare(error.strerror),
            allowed="the file that the endpoint reads too",
            action="run `bin/stepzero up`, which makes it",
        ) from error
    return {"Authorization": f"Bearer {token}"}
