"""Prompts: emphasis, chunks, clip skip."""

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from cnxs.prompts import PromptEncoder, count_tokens, num_chunks, parse_emphasis
from cnxs.weights import MINIATURE_FOLDER

CHUNK = 22


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    tokenizer = CLIPTokenizer.from_pretrained(MINIATURE_FOLDER / "tokenizer")
    model = CLIPTextModel.from_pretrained(MINIATURE_FOLDER / "text_encoder", dtype=torch.float32)
    return PromptEncoder([tokenizer], [model.eval()], chunk=CHUNK)


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a (cat:1.3) here", [("a ", 1.0), ("cat", 1.3), (" here", 1.0)]),
        ("(cat)", [("cat", 1.1)]),
        ("[cat]", [("cat", 1 / 1.1)]),
        ("((cat))", [("cat", 1.1 * 1.1)]),
        ("(a (b:2):0.5)", [("a ", 0.5), ("b", 1.0)]),
        (r"smile \(open\)", [("smile (open)", 1.0)]),
        ("a (cat", [("a cat", 1.0)]),
        ("a: b) c", [("a: b) c", 1.0)]),
        ("", []),
    ],
)
def test_emphasis(prompt: str, pieces: list[tuple[str, float]]) -> None:
    parsed = parse_emphasis(prompt)
    assert [text for text, _ in parsed] == [text for text, _ in pieces]
    assert [weight for _, weight in parsed] == pytest.approx([weight for _, weight in pieces])


@pytest.mark.parametrize(("tokens", "chunks"), [(0, 1), (22, 1), (23, 2), (44, 2), (45, 3)])
def test_number_of_chunks(tokens: int, chunks: int) -> None:
    assert num_chunks(tokens, CHUNK) == chunks


def test_a_short_prompt_is_what_the_text_encoder_gives(encoder: PromptEncoder) -> None:
    positive, negative = encoder.encode("a red apple, 3d render", "")
    tokenizer, model = encoder.tokenizers[0], encoder.text_encoders[0]
    for states, prompt in ((positive, "a red apple, 3d render"), (negative, "")):
        ids = tokenizer(prompt, padding="max_length", max_length=CHUNK + 2).input_ids
        with torch.no_grad():
            expected = model(torch.tensor([ids])).last_hidden_state
        assert torch.equal(states.context, expected)
        assert states.pooled is None


def test_long_prompts_are_chunked_and_both_get_the_same_length(encoder: PromptEncoder) -> None:
    long = ", ".join(["a red apple on a green table"] * 6)
    tokens = count_tokens(encoder.tokenizers[0], long)
    assert tokens > CHUNK
    positive, negative = encoder.encode(long, "blue")
    assert positive.context.shape == negative.context.shape
    assert positive.context.shape[1] == num_chunks(tokens, CHUNK) * (CHUNK + 2)
    shorter, _ = encoder.encode(long[:-12], "blue")
    assert not torch.equal(positive.context, shorter.context)  # the end of a long prompt is heard


def test_emphasis_changes_the_states_and_keeps_their_mean(encoder: PromptEncoder) -> None:
    plain, _ = encoder.encode("a red apple", "")
    strong, _ = encoder.encode("a (red:1.5) apple", "")
    assert (plain.context - strong.context).abs().max() > 0.01
    assert strong.context.mean().item() == pytest.approx(plain.context.mean().item(), abs=1e-5)


def test_clip_skip_leaves_the_last_layers_out(encoder: PromptEncoder) -> None:
    skipped, _ = encoder.encode("a red apple", "", clip_skip=1)
    model, tokenizer = encoder.text_encoders[0], encoder.tokenizers[0]
    ids = tokenizer("a red apple", padding="max_length", max_length=CHUNK + 2).input_ids
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2]
        expected = model.final_layer_norm(hidden)
    assert torch.equal(skipped.context, expected)
