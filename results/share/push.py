"""`slipway push`: upload a run to the Hugging Face Hub: nothing before `--yes`, and private unless `--public`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars, get_session, validate_repo_id

from ... import __version__
from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.shown import one_line, printable
from ...training.observers.screen.tables import plural
from ...training.storage.files import sha256_of
from ..use.trained import Trained
from .card.usage import REPO
from .card_command import add_card_options, license_of, make
from .hub_folder import CARD, MADE, WEIGHTS, check_is_run, is_ready, own_folder

ANSWER_SECONDS = 15.0
"""How long the Hub may take to answer the first question."""
SILENCE_SECONDS = 60.0
"""How long it may be silent later, where it may have to compute."""

_TOKENS = "https://huggingface.co/settings/tokens"
_MOST_SEARCHED_BYTES = 64 << 20
"""Of a file in which the token is looked for."""


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    name: str
    """In the repository."""
    size_bytes: int


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "push",
        "Upload a run's best weights with a model card to the Hugging Face Hub. Without --yes it makes the folder as "
        "`slipway card` does, says what would be uploaded, and reaches no network.",
        "RUN --to USER/NAME [options]",
    )
    add_card_options(parser)
    parser.add_argument(
        "--to", required=True, metavar="USER/NAME", help="the repository; it is made if it is not there"
    )
    parser.add_argument("--yes", action="store_true", help="upload; without it nothing leaves this machine")
    parser.add_argument("--public", action="store_true", help="for everybody to see; private unless given")
    return parser


def main(arguments: list[str]) -> int:
    """Say what would be uploaded, and with `--yes` do it; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    repo = _checked(options.to)
    folder = _ready_folder(options.run, Path(options.runs_dir), repo, license_of(options))
    files = _files_of(folder)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="slipway", library_version=__version__)
    width = max(len(printable(file.name)) for file in files)
    for file in files:
        print(f"{printable(file.name):<{width}}  {file.size_bytes:>13,} bytes")
    total = f"{plural(len(files), 'file')}, {sum(file.size_bytes for file in files) / 1e6:,.1f} MB"
    if not options.yes:
        seen = "public" if options.public else "private"
        print(printable(f"{total} of {folder} would go to {api.endpoint}/{repo}, {seen} if it is made new"))
        print("nothing was uploaded: add --yes to do it")
        return 0
    is_private = _upload(api, repo, files, public=options.public)
    print(printable(f"uploaded: {total}, {'private' if is_private else 'public'}: {api.endpoint}/{repo}"))
    return 0


def _checked(repo: str) -> str:
    """Return a repository's name. Raises `UserError` for what the Hub would not take."""
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UserError(
            f"--to {one_line(repo)}: no name on the Hub; give USER/NAME, of letters, digits, - . and _, up to 96 of them"
        ) from None
    if repo.count("/") != 1 or repo == REPO:
        raise UserError(f"--to {repo}: give USER/NAME, as in ann/my-signs; `hf auth whoami` tells the user")
    return repo


def _ready_folder(run: str, runs_dir: Path, repo: str, license_name: str | None) -> Path:
    """Return the folder to upload, made now if the run has none. Raises `UserError` where it is of other weights by now."""
    for folder in (Path(run), runs_dir / run):
        if is_ready(folder):
            return folder
    trained = Trained.find(run, "best", runs_dir, trust=False)
    check_is_run(trained)
    out = own_folder(trained)
    if not is_ready(out):
        make(trained, out, repo=repo, license_name=license_name)
        print(printable(f"read {out / CARD} before you upload it"))
    elif sha256_of(out / WEIGHTS) != sha256_of(trained.folder / WEIGHTS):
        raise UserError(f"{out}: of other weights than the run has by now; slipway card {run} --force makes it anew")
    elif license_name is not None:
        raise UserError(
            f"--license {license_name}: {out / CARD} is there already; name the license in it, or make it anew: "
            f"slipway card {run} --force --license {license_name}"
        )
    return out


def _files_of(folder: Path) -> list[_File]:
    """Return what is uploaded of a folder: all but hidden files. Raises `UserError` for a link, and where a token stands."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in Path(name).parts) or name.endswith(".partial"):
            continue
        if path.is_symlink():
            raise UserError(f"{path}: a link, and what it leads to may not be meant; copy the file here, or remove it")
        if path.is_file():
            found.append(_File(path=path, name=name, size_bytes=path.stat().st_size))
    token = (huggingface_hub.get_token() or "").encode()
    for file in found:
        if token and file.size_bytes <= _MOST_SEARCHED_BYTES and token in file.path.read_bytes():
            raise UserError(f"{file.path}: holds your token of the Hub; take it out before you upload it")
    return found


def _upload(api: HfApi, repo: str, files: list[_File], *, public: bool) -> bool:
    """Upload files in one commit; return whether the repository is private. Raises `UserError`."""
    if not huggingface_hub.get_token():
        raise UserError(
            f"no token of the Hub: `hf auth login` keeps one, or set HF_TOKEN; {_TOKENS} makes one that may write"
        )
    if not sys.stderr.isatty():
        disable_progress_bars()
    with _in_one_line(repo, api.endpoint):
        try:
            info = api.model_info(repo, timeout=ANSWER_SECONDS)
            is_private, there = bool(info.private), {file.rfilename for file in info.siblings or ()}
        except RepositoryNotFoundError as error:
            if error.response is not None and error.response.status_code == 401:
                api.whoami()  # a token that nobody knows is told as such
            api.create_repo(repo, private=not public)
            is_private, there = not public, set()
        if not is_private and not public:
            raise UserError(
                f"{repo}: is there already, for everybody to see: add --public if it is yours, or give another name"
            )
        new = {file.name for file in files}
        adding = [CommitOperationAdd(file.name, _content(file, repo)) for file in files]
        removing = [CommitOperationDelete(name) for name in MADE if name in there and name not in new]
        api.create_commit(repo, [*adding, *removing], commit_message=f"Upload by Slipway {__version__}")
    return is_private


def _content(file: _File, repo: str) -> Path | bytes:
    """Return what is uploaded of a file; a card that does not know the repository yet says now where it lies."""
    if file.name != CARD:
        return file.path
    return file.path.read_bytes().replace(f'"{REPO}"'.encode(), f'"{repo}"'.encode())


@contextmanager
def _in_one_line(repo: str, endpoint: str) -> Iterator[None]:
    """Turn what the Hub answers, or does not, into one line with what to do; what its library logs of it is left out."""
    logger = logging.getLogger("huggingface_hub")
    before, session = logger.level, get_session()
    patience = session.timeout
    logger.setLevel(logging.ERROR)
    session.timeout = SILENCE_SECONDS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # of the network, of its server, and of the library between
        answered = next((one for one in (error, error.__cause__) if isinstance(one, HfHubHTTPError)), None)
        if answered is not None and answered.response is not None:
            told = _of_status(answered, endpoint)
        elif "timeout" in type(error).__name__.lower():
            told = f"{endpoint} does not answer: try again later"
        else:
            told = f"{endpoint} cannot be asked ({_words_of(error)}): look at the network, or try again later"
        raise UserError(f"{repo}: {told}; nothing in it was changed") from error
    finally:
        session.timeout = patience
        logger.setLevel(before)


def _words_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _of_status(error: HfHubHTTPError, endpoint: str) -> str:
    code = error.response.status_code
    said = " ".join((error.server_message or "").split())[:200]
    told = f" and says: {said}" if said else ""
    if code == 401:
        return f"the Hub does not know the token (401): make one that may write at {_TOKENS}, then `hf auth login`"
    if code == 403:
        return (
            f"the token may not write there (403){told}: give a repository of the token's user (`hf auth whoami`), or make a "
            f"token that may write at {_TOKENS}"
        )
    if code == 404:
        return f"the Hub knows no such user or organisation (404){told}: `hf auth whoami` tells yours"
    if code == 413:
        return f"a file is larger than the Hub takes (413){told}: remove it from the folder"
    if code == 429:
        return f"the Hub was asked too often (429){told}: wait some minutes"
    if code >= 500:
        return f"{endpoint} has a fault of its own ({code}){told}: try again later"
    return f"{endpoint} answers {code}{told}: mend what it says"
