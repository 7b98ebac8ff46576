"""The miniature's data: artwork, scenes, captions, hand-drawn lines and pools."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from cnxs.codec import PatchCodec
from cnxs.errors import InputError, UnavailableError
from cnxs.miniature import ASSETS, SIZE
from cnxs.miniature.__main__ import main
from cnxs.miniature.artwork import LABEL_PACKAGE, RENDERED_PACKAGE, STYLES, VECTOR_PACKAGES, Artwork, Sprite, render
from cnxs.miniature.captions import plain_caption, random_caption
from cnxs.miniature.drawing import Hand, TracedArtwork, line_map, sprite_lines
from cnxs.miniature.pool import PoolConfig, make_pool, random_canny
from cnxs.miniature.scenes import BACKGROUNDS, Item, Recipe, draw, random_recipe
from cnxs.miniature.split import held_out_concepts

HELD_OUT = sorted(held_out_concepts())[0]


@pytest.fixture(scope="module")
def artwork() -> Artwork:
    """Return three simple concepts in two styles: a disc with an eye, a square, and a held-out bar."""
    pixels, sprites = [], []
    for style, red in (("flat", 200), ("3d", 90)):
        disc, square, bar = (np.zeros((SIZE, SIZE, 4), np.uint8) for _ in range(3))
        cv2.circle(disc, (128, 128), 110, (red, 40, 40, 255), -1)
        cv2.circle(disc, (90, 90), 30, (255, 255, 255, 255), -1)
        square[40:216, 40:216] = (20, red, 60, 255)
        bar[110:146, 10:246] = (20, 60, red, 255)
        pixels += [disc, square, bar]
        sprites += [
            Sprite(name=name, style=style, tags=("plain", "round"), group=7) for name in ("disc", "square", HELD_OUT)
        ]
    return Artwork(np.stack(pixels), tuple(sprites))


def _recipe(*items: Item, background: str = "white") -> Recipe:
    return Recipe(background=background, colour=BACKGROUNDS[background], items=items)


def _item(name: str, x: float = 127.5, y: float = 127.5, size: float = 1.0, **more) -> Item:
    return Item(name=name, style="flat", x=x, y=y, size=size, **more)


def test_weights_load_as_stable_diffusions_own_classes() -> None:
    unet = UNet2DConditionModel.from_pretrained(ASSETS / "unet")
    text_encoder = CLIPTextModel.from_pretrained(ASSETS / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / "tokenizer")
    scheduler = DDPMScheduler.from_pretrained(ASSETS / "scheduler")
    assert unet.config["in_channels"] == 16
    assert unet.config["cross_attention_dim"] == text_encoder.config.hidden_size == 192
    assert len(tokenizer) == text_encoder.config.vocab_size
    assert tokenizer.model_max_length == 32
    assert tokenizer("a red apple").input_ids[0] == text_encoder.config.bos_token_id
    assert tokenizer("a red apple").input_ids[-1] == text_encoder.config.eos_token_id
    assert scheduler.config["prediction_type"] == "v_prediction"
    assert scheduler.alphas_cumprod[-1] == 0


def test_render_draws_all_styles_and_leaves_out_people(tmp_path: Path) -> None:
    packages = tmp_path / "node_modules"
    body = '<rect x="8" y="8" width="16" height="16" fill="#f00"/>'
    for package in VECTOR_PACKAGES.values():
        (packages / package).mkdir(parents=True)
        icons = {"pinata": {"body": body}, "person": {"body": body}}
        (packages / package / "icons.json").write_text(json.dumps({"icons": icons, "width": 32, "height": 32}))
    (packages / RENDERED_PACKAGE / "assets").mkdir(parents=True)
    Image.new("RGBA", (64, 64), (0, 255, 0, 255)).save(packages / RENDERED_PACKAGE / "assets" / "1fa85.webp")
    (packages / LABEL_PACKAGE / "en").mkdir(parents=True)
    labels = [
        {"label": "piñata", "hexcode": "1FA85", "group": 6, "tags": ["party"]},
        {"label": "person", "hexcode": "1F9D1", "group": 1, "tags": []},
    ]
    (packages / LABEL_PACKAGE / "en" / "data.json").write_text(json.dumps(labels))
    assert render(packages, tmp_path / "out", processes=1) == 4
    artwork = Artwork.load(tmp_path / "out")
    assert sorted(artwork.index) == sorted(("pinata", style) for style in STYLES)
    flat = artwork.pixels[artwork.index["pinata", "flat"]]
    assert tuple(flat[128, 128]) == (255, 0, 0, 255)
    assert flat[10, 10, 3] == 0
    assert artwork.pixels[artwork.index["pinata", "3d"]][128, 128, 1] == 255


def test_missing_artwork_and_packages_get_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnavailableError, match="no rendered artwork"):
        Artwork.load(tmp_path)
    with pytest.raises(UnavailableError, match="npm install"):
        render(tmp_path, tmp_path / "out")
    assert main(["artwork", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "npm install" in capsys.readouterr().err


def test_a_scene_puts_objects_where_its_recipe_says(artwork: Artwork) -> None:
    scene = draw(_recipe(_item("square", x=60, y=180, size=0.5), background="blue"), artwork)
    assert tuple(scene.rgb[180, 60]) == (20, 200, 60)
    assert tuple(scene.rgb[20, 200]) == BACKGROUNDS["blue"]
    rows, columns = np.nonzero(scene.masks[0] > 0.5)
    assert rows.mean() == pytest.approx(180, abs=0.5)
    assert columns.mean() == pytest.approx(60, abs=0.5)
    assert np.ptp(rows) + 1 == pytest.approx(88, abs=1)


def test_masks_say_what_is_seen_of_each_object(artwork: Artwork) -> None:
    scene = draw(_recipe(_item("square"), _item("disc", size=0.5)), artwork)
    assert scene.masks.shape == (2, SIZE, SIZE)
    assert scene.masks[:, 128, 128].tolist() == [0, 1]
    assert scene.masks[:, 50, 50].tolist() == [1, 0]
    assert scene.masks.sum(axis=0).max() <= 1 + 1e-6


def test_flipping_mirrors_and_turning_is_counter_clockwise(artwork: Artwork) -> None:
    plain, flipped, turned = (
        draw(_recipe(_item("disc", **more)), artwork).rgb for more in ({}, {"flip": True}, {"turn": 90.0})
    )
    assert (np.abs(plain[:, ::-1].astype(int) - flipped) > 8).mean() < 0.001
    assert (np.abs(np.rot90(plain).astype(int) - turned) > 8).mean() < 0.001


def test_random_scenes_keep_their_shares(artwork: Artwork) -> None:
    rng = np.random.default_rng(0)
    recipes = [random_recipe(rng, artwork, positions=[0, 1, 3]) for _ in range(600)]
    assert np.mean([len(recipe.items) == 2 for recipe in recipes]) == pytest.approx(0.2, abs=0.05)
    assert np.mean([recipe.background == "white" for recipe in recipes]) == pytest.approx(0.45, abs=0.06)
    assert all(len({item.style for item in recipe.items}) == 1 for recipe in recipes)
    assert {item.name for recipe in recipes for item in recipe.items} == {"disc", "square"}


def test_captions_follow_the_grammar(artwork: Artwork) -> None:
    rng = np.random.default_rng(0)
    recipe = _recipe(_item("disc"), background="teal")
    captions = {random_caption(rng, recipe, artwork) for _ in range(300)}
    assert {"a disc, flat illustration, teal background", "flat of disc, teal background"} <= captions
    assert any(caption.startswith("disc, round, ") for caption in captions)
    assert all(caption.endswith(", teal background") for caption in captions)
    assert plain_caption(recipe) == "a disc, flat illustration, teal background"
    pair = _recipe(_item("disc"), _item("square"))
    assert plain_caption(pair) == "disc and square, flat illustration, white background"


def test_traced_lines_are_the_outline_and_the_eye(artwork: Artwork) -> None:
    lines = sprite_lines(artwork.pixels[artwork.index["disc", "flat"]])
    assert len(lines.outlines) == 1
    radius = np.hypot(*(lines.outlines[0] - 128).T)
    assert abs(radius - 110).max() < 2
    assert lines.inner
    assert all(abs(np.hypot(*(curve - 90).T) - 30).max() < 4 for curve in lines.inner)


def test_a_steady_hand_follows_the_outline(artwork: Artwork) -> None:
    recipe = _recipe(_item("disc", size=0.8))
    hand = Hand(thickness=2, smoothing=0.5, wobble=0.0, shift=0.0, inner_share=0.0)
    lines = line_map(recipe, TracedArtwork(artwork), hand=hand, rng=np.random.default_rng(0))
    rows, columns = np.nonzero(lines)
    assert lines.dtype == np.uint8
    assert abs(np.hypot(rows - 127.5, columns - 127.5) - 88).max() < 3


@pytest.mark.parametrize("thickness", [2, 3, 4, 5, 6])
def test_strokes_are_as_thick_as_the_hand_says(artwork: Artwork, thickness: int) -> None:
    hand = Hand(thickness=thickness, smoothing=0.5, wobble=0.0, shift=0.0, inner_share=0.0)
    lines = line_map(_recipe(_item("disc", size=0.8)), TracedArtwork(artwork), hand=hand, rng=np.random.default_rng(0))
    assert lines.sum() / (2 * np.pi * 88) == pytest.approx(thickness, abs=0.4)


def test_a_hand_wobbles_breaks_and_leaves_out(artwork: Artwork) -> None:
    recipe = _recipe(_item("disc", size=0.8))
    steady = {"smoothing": 0.5, "wobble": 0.0, "shift": 0.0}

    def drawn(**more) -> np.ndarray:
        hand = Hand(**{**steady, **more})
        return line_map(recipe, TracedArtwork(artwork), hand=hand, rng=np.random.default_rng(1))

    full = drawn()
    assert drawn(inner_share=0.0).sum() < 0.95 * full.sum()
    assert drawn(gaps=8).sum() < 0.95 * full.sum()
    wobbled = drawn(wobble=2.0)
    assert not np.array_equal(wobbled, full)
    near = cv2.dilate(full, np.ones((21, 21), np.uint8))
    assert wobbled[near == 0].sum() == 0


def test_nearer_objects_hide_the_lines_behind_them(artwork: Artwork) -> None:
    recipe = _recipe(_item("square"), _item("disc", size=0.5))
    hand = Hand(wobble=0.0, shift=0.0, inner_share=0.0)
    lines = line_map(recipe, TracedArtwork(artwork), hand=hand, rng=np.random.default_rng(0))
    swapped = Recipe(background="white", colour=(255, 255, 255), items=recipe.items[::-1])
    hidden = line_map(swapped, TracedArtwork(artwork), hand=hand, rng=np.random.default_rng(0))
    assert lines[60:196, 60:196].any()
    assert not hidden[60:196, 60:196].any()


def test_random_hands_are_thin_and_thick_and_reproducible() -> None:
    hands = [Hand.random(np.random.default_rng(i)) for i in range(200)]
    assert {hand.thickness for hand in hands} == {2, 3, 4, 5, 6}
    assert any(hand.inner_share == 0 for hand in hands)
    assert any(hand.gaps > 0 for hand in hands)
    assert hands[7] == Hand.random(np.random.default_rng(7))


def test_four_in_ten_canny_maps_have_the_default_thresholds(artwork: Artwork) -> None:
    stripes = np.full((32, 33, 8, 3), 100, np.uint8)
    stripes[:, :, 4:] += np.arange(4, 70, 2, dtype=np.uint8)[:, None, None]  # edges from faint to strong
    stripes = stripes.reshape(32, -1, 3)
    default = cv2.Canny(stripes, 100, 200) > 0
    rng = np.random.default_rng(1)
    share = np.mean([np.array_equal(random_canny(stripes, rng=rng), default) for _ in range(300)])
    assert share == pytest.approx(0.4, abs=0.08)


@pytest.fixture(scope="module")
def codec() -> PatchCodec:
    return PatchCodec.load(ASSETS)


def test_a_pool_excludes_held_out_concepts_and_can_be_made_in_parts(
    artwork: Artwork, codec: PatchCodec, tmp_path: Path
) -> None:
    make_pool(artwork, codec, tmp_path / "whole", config=PoolConfig(count=36))
    make_pool(artwork, codec, tmp_path / "part", config=PoolConfig(first=32, count=4))
    shown = {name for names in json.loads((tmp_path / "whole/concepts.json").read_text()) for name in names}
    assert shown == {"disc", "square"}
    for name in ("canny", "scribble"):
        whole, part = (np.load(tmp_path / folder / f"{name}.npy") for folder in ("whole", "part"))
        assert whole.shape == (36, 8192)
        assert np.array_equal(whole[32:], part)
        maps = np.unpackbits(whole, axis=1).reshape(36, SIZE, SIZE)
        assert (maps.mean(axis=(1, 2)) > 0.001).all()
    whole, part = (np.load(tmp_path / folder / "latents.npy") for folder in ("whole", "part"))
    assert whole.shape == (36, 16, 16, 16)
    assert whole.dtype == np.float16
    np.testing.assert_allclose(whole[32:], part, atol=0.02)
    captions = json.loads((tmp_path / "whole/captions.json").read_text())
    assert captions[32:] == json.loads((tmp_path / "part/captions.json").read_text())
    decoded = codec.decode(torch.from_numpy(whole[:4]).float())
    assert decoded.std() > 0.2


def test_a_pool_goes_on_where_it_stopped_and_refuses_other_settings(
    artwork: Artwork, codec: PatchCodec, tmp_path: Path
) -> None:
    config = PoolConfig(count=4, without_held_out=False)
    make_pool(artwork, codec, tmp_path, config=config)
    expected = np.load(tmp_path / "scribble.npy")
    state = json.loads((tmp_path / "pool.json").read_text())
    assert state["done"] == 4
    (tmp_path / "pool.json").write_text(json.dumps({**state, "done": 2}))
    for name in ("captions", "concepts"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    array = np.lib.format.open_memmap(tmp_path / "scribble.npy", mode="r+")
    array[2:] = 0
    array.flush()
    make_pool(artwork, codec, tmp_path, config=config)
    assert np.array_equal(np.load(tmp_path / "scribble.npy"), expected)
    assert len(json.loads((tmp_path / "captions.json").read_text())) == 4
    with pytest.raises(InputError) as caught:
        make_pool(artwork, codec, tmp_path, config=PoolConfig(count=5))
    assert caught.value.key == "pool_differs"
