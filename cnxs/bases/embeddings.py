"""Textual inversion: a file teaches the text encoders a new word, `<name>`, named as the file."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken

from cnxs.checkpoints.files import is_pickle, read_tensors
from cnxs.errors import CheckpointError
from cnxs.prompts import PromptEncoder

log = logging.getLogger(__name__)

# Keys of an encoder's vectors, as the trainers write them: first and second text encoder.
_KEYS = (("emb_params", "clip_l"), ("clip_g",))


def add_embeddings(prompts: PromptEncoder, files: Sequence[Path]) -> None:
    """Add the words of textual-inversion files, in this order, to tokenizers and text encoders.

    A word of several vectors is one word in a prompt and takes as many tokens as it has vectors.

    Raises:
        CheckpointError: if a file is a pickle, damaged, made for another base, or its word is known already.
    """
    if not files:
        return
    words = [(f"<{file.stem}>", _read(file, len(prompts.text_encoders))) for file in files]
    for index, (tokenizer, encoder) in enumerate(zip(prompts.tokenizers, prompts.text_encoders, strict=True)):
        for file, (word, vectors) in zip(files, words, strict=True):
            _add(tokenizer, encoder, word, vectors[index], file=file.name)
        # The legacy value 2 makes CLIP pool at the largest id: that would be the new word.
        getattr(encoder, "text_model", encoder).eos_token_id = tokenizer.eos_token_id
    first = prompts.tokenizers[0]
    for word, vectors in words:
        start = first.convert_tokens_to_ids(word)
        prompts.runs[start] = range(start, start + len(vectors[0]))
    log.info("added the words %s", ", ".join(word for word, _ in words))


def _read(file: Path, count: int) -> list[torch.Tensor]:
    """Return the vectors (N, width) for each text encoder."""
    if is_pickle(file):
        raise CheckpointError("embedding_pickle", file=file.name)
    tensors = read_tensors(file)
    if count == 1 and len(tensors) == 1:
        return [next(iter(tensors.values())).reshape(-1, next(iter(tensors.values())).shape[-1])]
    vectors = [next((tensors[key] for key in keys if key in tensors), None) for keys in _KEYS[:count]]
    found = [vector.reshape(-1, vector.shape[-1]) for vector in vectors if vector is not None]
    if len(found) != count or len({len(vector) for vector in found}) != 1:
        raise CheckpointError("embedding_other_base", file=file.name)
    return found


def _add(tokenizer: Any, encoder: Any, word: str, vectors: torch.Tensor, *, file: str) -> None:
    table = encoder.get_input_embeddings().weight
    if vectors.shape[1] != table.shape[1]:
        raise CheckpointError("embedding_other_base", file=file)
    names = [word, *(f"{word[:-1]}_{i}>" for i in range(1, len(vectors)))]
    if tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names]) != len(names):
        raise CheckpointError("embedding_word_taken", file=file, word=word)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[-len(names) :] = vectors.to(table.dtype)
