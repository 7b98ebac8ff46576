"""From prompts to text states, the same way on every base: chunks of any number, emphasis, clip skip.

Emphasis is written `(word:1.3)`, `(word)` for 1.1 and `[word]` for 1 / 1.1, nested as wanted; `\\(` is a plain bracket.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

_TOKEN = re.compile(r"\\[()\[\]\\]|[(\[]|:\s*([0-9]{0,3}\.?[0-9]{0,6})\s*\)|[)\]]|[^\\()\[\]:]+|[\\:]")
_EMPHASIS = 1.1


@dataclass(frozen=True)
class TextStates:
    """What the U-Net reads of a prompt.

    Attributes:
        context: (1, S, context width), S a multiple of the text encoder's chunk.
        pooled: (1, pooled width), SDXL only.
    """

    context: torch.Tensor
    pooled: torch.Tensor | None = None


def parse_emphasis(prompt: str) -> list[tuple[str, float]]:
    """Split a prompt into (text, weight). A bracket that is never closed counts as text without emphasis."""
    pieces: list[list[Any]] = []
    open_brackets: list[tuple[str, int]] = []

    def scale_from(start: int, factor: float) -> None:
        for piece in pieces[start:]:
            piece[1] *= factor

    for match in _TOKEN.finditer(prompt):
        token, number = match.group(0), match.group(1)
        if token in ("(", "["):
            open_brackets.append((token, len(pieces)))
        elif number and open_brackets and open_brackets[-1][0] == "(":
            scale_from(open_brackets.pop()[1], float(number))
        elif token == ")" and open_brackets and open_brackets[-1][0] == "(":
            scale_from(open_brackets.pop()[1], _EMPHASIS)
        elif token == "]" and open_brackets and open_brackets[-1][0] == "[":
            scale_from(open_brackets.pop()[1], 1 / _EMPHASIS)
        else:
            pieces.append([token[1:] if token[0] == "\\" and len(token) > 1 else token, 1.0])
    merged: list[tuple[str, float]] = []
    for text, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged


def tokenize(
    tokenizer: Any, prompt: str, runs: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> tuple[list[int], list[float]]:
    """Return the prompt's token ids, without start and end, and the weight of each.

    Args:
        tokenizer: of the base.
        prompt: with emphasis as it is written.
        runs: ids that stand for several: words of textual inversion.
    """
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in parse_emphasis(prompt):
        found = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        piece = [part for token in found for part in runs.get(token, (token,))]
        ids += piece
        weights += [weight] * len(piece)
    return ids, weights


def count_tokens(tokenizer: Any, prompt: str) -> int:
    """Return the number of tokens that a prompt uses, start and end not counted."""
    return len(tokenize(tokenizer, prompt)[0])


def num_chunks(num_tokens: int, chunk: int) -> int:
    """Return the chunks of `chunk` tokens that a prompt needs: at least one."""
    return max(1, -(-num_tokens // chunk))


class PromptEncoder:
    """Runs a base's text encoders.

    Args:
        tokenizers: one per text encoder.
        text_encoders: one (SD 1.x, 2.x, miniature) or two (SDXL).
        chunk: prompt tokens per run of a text encoder: 75, or 22 on the miniature.
    """

    def __init__(self, tokenizers: Sequence[Any], text_encoders: Sequence[Any], *, chunk: int) -> None:
        self.tokenizers, self.text_encoders, self.chunk = tuple(tokenizers), tuple(text_encoders), chunk
        self.runs: dict[int, range] = {}  # first token of a word of textual inversion: all of its tokens

    @torch.no_grad()
    def encode(self, prompt: str, negative_prompt: str, *, clip_skip: int = 0) -> tuple[TextStates, TextStates]:
        """Encode a prompt and its negative to states of one length, as many chunks as the longer one needs.

        Args:
            prompt: any length; chunked where it is longer than one run of the text encoder.
            negative_prompt: likewise.
            clip_skip: last layers of the text encoders left out, 0 to 11.
        """
        longest = max(len(tokenize(self.tokenizers[0], text, self.runs)[0]) for text in (prompt, negative_prompt))
        chunks = num_chunks(longest, self.chunk)
        return self._states(prompt, chunks, clip_skip), self._states(negative_prompt, chunks, clip_skip)

    def _states(self, prompt: str, chunks: int, clip_skip: int) -> TextStates:
        parts = [
            self._run(tokenizer, encoder, prompt, chunks, clip_skip)
            for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True)
        ]
        context = torch.cat([states for states, _ in parts], dim=-1)
        return TextStates(context, parts[-1][1])

    def _run(
        self, tokenizer: Any, encoder: Any, prompt: str, chunks: int, clip_skip: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return one encoder's states (1, chunks * (chunk + 2), width), and its pooled state where it has one."""
        ids, weights = self._padded(tokenizer, prompt, chunks)
        output = encoder(torch.tensor(ids, device=encoder.device), output_hidden_states=True)
        two_encoders = len(self.text_encoders) == 2
        # SDXL was trained on the layer before the last, without the final norm.
        states = output.hidden_states[-1 - clip_skip - two_encoders]
        if not two_encoders:
            states = _final_norm(encoder)(states)
        weight = torch.tensor(weights, device=states.device, dtype=states.dtype)[:, :, None]
        if (weight != 1).any():
            mean = states.mean()
            states = states * weight
            states = states * (mean / states.mean())
        pooled = getattr(output, "text_embeds", None)
        return states.reshape(1, -1, states.shape[-1]), None if pooled is None else pooled[:1]

    def _padded(self, tokenizer: Any, prompt: str, chunks: int) -> tuple[list[list[int]], list[list[float]]]:
        """Cut a prompt into rows of start, `chunk` tokens, end and padding."""
        ids, weights = tokenize(tokenizer, prompt, self.runs)
        rows, row_weights = [], []
        for i in range(0, chunks * self.chunk, self.chunk):
            part, part_weights = ids[i : i + self.chunk], weights[i : i + self.chunk]
            padding = [tokenizer.pad_token_id] * (self.chunk - len(part))
            rows.append([tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *padding])
            row_weights.append([1.0, *part_weights, 1.0, *[1.0] * len(padding)])
        return rows, row_weights


def _final_norm(encoder: Any) -> torch.nn.Module:
    return getattr(encoder, "text_model", encoder).final_layer_norm
