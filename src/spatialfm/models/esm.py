"""ESM-2: protein sequences to vectors, as input of models that take markers by protein.

VirTues' marker tokens come from `esm2_t30_150M_UR50D` (paper, Methods, "Tokenization": width 640). Its published script
takes the whole sequence, the representation after the last layer (30) with ESM-2's final layer norm, and the mean over
the residues; start and end tokens are left out. That is `last_hidden_state` of `transformers.EsmModel`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import ModelError, PanelError, WeightsError, counted, listed
from .._logging import logger
from .._settings import settings
from .encoder import resolve_device
from .hub_id import parse_hub_id

if TYPE_CHECKING:
    from transformers import EsmTokenizer

ESM2 = "facebook/esm2_t30_150M_UR50D"
RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWYXBUZO")  # X, B, Z: unknown or ambiguous; U, O: rare
_LONG = 1024  # tokens of a sequence as ESM-2 was trained on: a batch is never padded beyond batch_size times this
_FILES = ("config.json", "vocab.txt", "model.safetensors")
_NEEDED = ", ".join(_FILES)


def esm_embeddings(
    sequences: Mapping[str, str], model: str | os.PathLike = ESM2, *, batch_size: int = 8, device: str | None = None
) -> dict[str, np.ndarray]:
    """Embed proteins with ESM-2: the mean of the last layer over the residues.

    Sequences of any length are embedded whole, as VirTues' script does: ESM-2's positions are rotary, so nothing is cut
    off beyond the 1,022 residues that it was trained on.

    Parameters
    ----------
    sequences
        ``{name: amino acids in one-letter code}``.
    model
        Hub repository, kept in ``sfm.settings.cache_dir``, or a folder with `config.json`, `vocab.txt` and
        `model.safetensors`.
    batch_size
        Sequences at a time; fewer where they are long. 1 makes a vector independent of its company to the last bit.
    device
        Torch device, or ``"auto"`` (default: ``sfm.settings.device``).

    Returns
    -------
    ``{name: vector}`` in the order of `sequences`, float32 ``(d,)``; ``d`` is 640 for the default model.

    Raises
    ------
    PanelError
        If a sequence is empty or has characters that are not amino acids.
    ModelError
        If `transformers` is not installed.
    WeightsError
        If the model is nowhere, or its files are not those of an ESM model.

    References
    ----------
    Lin et al., "Evolutionary-scale prediction of atomic-level protein structure with a language model", Science 2023.
    Wenckstern et al. 2026, arXiv:2501.06039, Methods, "Tokenization".

    Examples
    --------
    >>> esm_embeddings({"P01730": "MNRGVPFRHL"})  # doctest: +SKIP
    {'P01730': array([...], dtype=float32)}
    >>> esm_embeddings({"P01730": "MNRG-PFR1"})
    Traceback (most recent call last):
    spatialfm._errors.PanelError: The sequence of 'P01730' has '-' at place 5, which is not an amino acid. ...
    """
    embeddings = dict(iter_esm_embeddings(sequences, model, batch_size=batch_size, device=device))
    return {name: embeddings[name] for name in sequences}


def iter_esm_embeddings(
    sequences: Mapping[str, str], model: str | os.PathLike = ESM2, *, batch_size: int = 8, device: str | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """`esm_embeddings` one by one as they are ready, the shortest sequences first."""
    if batch_size < 1:
        raise ModelError(f"batch_size={batch_size} is not a number of sequences. Pass 1 or more.")
    cleaned = {name: clean_sequence(sequence, repr(name)) for name, sequence in sequences.items()}
    if not cleaned:
        return iter(())
    network, tokenizer = _load(model)
    limit = _longest(network)
    if limit and (long := [name for name, sequence in cleaned.items() if len(sequence) > limit]):
        raise ModelError(
            f"{long[0]!r} has {len(cleaned[long[0]]):,} residues; {model} takes {limit:,}. Use an ESM-2 model: its "
            "positions have no end."
        )
    tokens = {name: _tokens(tokenizer, sequence, name) for name, sequence in cleaned.items()}
    return _run(network, tokens, tokenizer.pad_token_id, batch_size, resolve_device(device))


def clean_sequence(sequence: str, what: str) -> str:
    """A sequence in capitals, without blanks and the stop sign at its end.

    Raises
    ------
    PanelError
        If nothing is left, or something that is not an amino acid.
    """
    cleaned = "".join(str(sequence).split()).upper().removesuffix("*")
    if not cleaned:
        raise PanelError(f"The sequence of {what} is empty. Correct it, or leave that protein out.")
    for place, letter in enumerate(cleaned, 1):
        if letter not in RESIDUES:
            raise PanelError(
                f"The sequence of {what} has {letter!r} at place {place}, which is not an amino acid. Pass an ungapped "
                "protein sequence in one-letter code."
            )
    return cleaned


def require_transformers() -> None:
    """Refuse where `transformers` is not installed.

    Raises
    ------
    ModelError
        With the command that installs it.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ModelError(
            "Computing protein embeddings with ESM-2 needs the package transformers: "
            "pip install 'spatialfm[proteins]'. Embeddings that are computed already need no further package."
        )


def _run(
    network: nn.Module, tokens: Mapping[str, list[int]], padding: int, batch_size: int, device: torch.device
) -> Iterator[tuple[str, np.ndarray]]:
    network = network.to(device).eval()
    for names in _batches({name: len(ids) for name, ids in tokens.items()}, batch_size):
        lengths = [len(tokens[name]) for name in names]
        ids = torch.full((len(names), max(lengths)), padding)
        for row, name in enumerate(names):
            ids[row, : lengths[row]] = torch.tensor(tokens[name])
        mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
        with torch.inference_mode():
            hidden = network(input_ids=ids.to(device), attention_mask=mask.long().to(device)).last_hidden_state
        for row, name in enumerate(names):
            yield name, _mean(hidden[row], lengths[row])


def _mean(hidden: Tensor, length: int) -> np.ndarray:
    # the first token marks the start, the last the end
    return hidden[1 : length - 1].float().mean(0).cpu().numpy()


def _batches(lengths: Mapping[str, int], batch_size: int) -> Iterator[list[str]]:
    """Names in batches of like length, the shortest first: little padding, and long ones by themselves."""
    batch: list[str] = []
    for name in sorted(lengths, key=lambda name: (lengths[name], name)):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[name] > batch_size * _LONG):
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def _tokens(tokenizer: EsmTokenizer, sequence: str, name: str) -> list[int]:
    # residue by residue: the tokenizer's own call warns of, or cuts, what is beyond 1,022 residues
    ids: Any = tokenizer.convert_tokens_to_ids(list(sequence))
    if tokenizer.unk_token_id in ids:
        residue = sequence[ids.index(tokenizer.unk_token_id)]
        raise WeightsError(
            f"The vocabulary of the ESM model lacks {residue!r}, which is in the sequence of {name!r}. Pass a folder "
            f"with the vocab.txt of {ESM2}."
        )
    return [tokenizer.cls_token_id, *ids, tokenizer.eos_token_id]


def _longest(network: nn.Module) -> int:
    """Residues that the model takes at most; 0: as many as there are."""
    config: Any = network.config
    if getattr(config, "position_embedding_type", "absolute") == "rotary":
        return 0
    return config.max_position_embeddings - config.pad_token_id - 3  # positions begin behind the padding's; two ends


def _load(model: str | os.PathLike) -> tuple[nn.Module, EsmTokenizer]:
    require_transformers()
    from transformers import EsmModel, EsmTokenizer

    folder = _folder(model)
    try:
        read: Any = EsmModel.from_pretrained(
            str(folder), add_pooling_layer=False, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        network, report = read
        tokenizer: EsmTokenizer = EsmTokenizer.from_pretrained(str(folder), local_files_only=True)
    # a damaged file surfaces as an exception of transformers, safetensors, json or torch
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0][:300]
        raise WeightsError(
            f"transformers cannot load an ESM model from {folder} ({type(error).__name__}: {first}). The folder must "
            f"hold {_NEEDED} of {ESM2}."
        ) from error
    # left to itself, transformers would fill what is missing at random; the contact head is not used here
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("contact_head."))
    if missing:
        raise WeightsError(
            f"The weights in {folder} are not those of an ESM model: "
            f"{counted(len(missing), 'tensor is', 'tensors are')} missing "
            f"({listed(missing, 3, quoted=False)}). Pass the folder of {ESM2}."
        )
    return network.float(), tokenizer


def _folder(model: str | os.PathLike) -> Path:
    """The model's files on this machine, fetched if need be."""
    path = Path(model).expanduser()
    if path.is_dir():
        if absent := _absent(path):
            raise WeightsError(f"Folder {path} has no {listed(absent, quoted=False)}. Pass a folder with {_NEEDED}.")
        return path
    try:
        named = parse_hub_id(os.fspath(model))
    except WeightsError as error:
        raise WeightsError(f"No folder {os.fspath(model)!r}. Pass a folder with {_NEEDED}, or {ESM2!r}.") from error
    if named.file or named.revision:
        raise WeightsError(f"{os.fspath(model)!r} is more than a repository. Pass {named.repo!r}.")
    repo, (owner, name) = named.repo, named.repo.split("/")
    # by its name alone only where no other owner's could be meant
    folder = settings.cache_dir / name if owner == ESM2.split("/")[0] else named.folder
    if _absent(folder):
        _download(repo, folder)
    return folder


def _absent(folder: Path) -> list[str]:
    return [
        name
        for name in _FILES
        # the largest models come in several files
        if not (folder / name).is_file() and not (folder / f"{name}.index.json").is_file()
    ]


def _download(repo: str, folder: Path) -> None:
    cause, reason = None, "downloads are off (sfm.settings.offline)"
    if not settings.offline:
        from huggingface_hub import snapshot_download

        logger.info("Fetching %s into %s", repo, folder)
        try:
            snapshot_download(repo, local_dir=folder, allow_patterns=["*.json", "vocab.txt", "*.safetensors"])
        # what comes up depends on the client's version and its HTTP library
        except Exception as error:
            cause, reason = error, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        else:
            if not _absent(folder):
                return
            reason = f"the repository has no {listed(_absent(folder), 99, quoted=False)}"
    raise WeightsError(
        f"No ESM model {repo}: {reason}. Put {_NEEDED} of https://huggingface.co/{repo} into {folder}, or pass "
        "embeddings that are computed already: marker_embeddings=<folder of <UniProt accession>.pt or .npy>."
    ) from cause
