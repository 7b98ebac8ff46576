"""Maps of a pool that are no lines: colour grids and the order of a scene's layers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cnxs.codec import PatchCodec
from cnxs.controls import colour_grid
from cnxs.errors import InputError
from cnxs.miniature import ASSETS, SIZE
from cnxs.miniature.__main__ import main
from cnxs.miniature.artwork import Artwork, Sprite
from cnxs.miniature.cases import load_depth_maps, load_pictures
from cnxs.miniature.maps import depth_image, depth_planes, random_colour_map, unpack_maps
from cnxs.miniature.pool import NO_LINES, PoolConfig, add_maps, make_pool
from cnxs.miniature.scenes import Item, Recipe, draw


@pytest.fixture(scope="module")
def artwork() -> Artwork:
    """Return a disc and a square."""
    disc, square = (np.zeros((SIZE, SIZE, 4), np.uint8) for _ in range(2))
    cv2.circle(disc, (128, 128), 110, (200, 40, 40, 255), -1)
    square[40:216, 40:216] = (20, 180, 60, 255)
    sprites = tuple(Sprite(name=name, style="flat", tags=(), group=7) for name in ("disc", "square"))
    return Artwork(np.stack([disc, square]), sprites)


def test_a_kept_colour_grid_is_the_apps_own_map() -> None:
    rng = np.random.default_rng(0)
    picture = load_pictures()[3]
    rows = np.stack([random_colour_map(picture, rng=rng) for _ in range(12)])
    maps = (unpack_maps(torch.from_numpy(rows)).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    known = {cells: colour_grid.draw(picture, cells=cells) for cells in (4, 8, 16)}
    cells_of = [next(cells for cells, grid in known.items() if np.array_equal(drawn, grid)) for drawn in maps]
    assert set(cells_of) == {4, 8, 16}


def test_the_nearest_object_is_white_and_one_behind_it_grey(artwork: Artwork) -> None:
    items = (
        Item(name="square", style="flat", x=110.0, y=128.0, size=0.6),
        Item(name="disc", style="flat", x=170.0, y=128.0, size=0.5),
    )
    scene = draw(Recipe(background="white", colour=(255, 255, 255), items=items), artwork)
    planes = depth_planes(scene.masks)
    depth = depth_image(planes)
    assert [depth[128, 170], depth[128, 80], depth[5, 5]] == [255, 128, 0]
    (unpacked,) = unpack_maps(torch.from_numpy(np.packbits(planes.reshape(1, 2, -1), axis=-1)))
    assert unpacked.shape == (1, SIZE, SIZE)
    assert np.abs(unpacked[0].numpy() - depth / 255).max() < 0.003
    alone = depth_image(depth_planes(scene.masks[1:]))
    assert set(np.unique(alone)) == {0, 255}


def test_older_pools_get_the_maps_that_new_ones_have(
    artwork: Artwork, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pool"
    config = PoolConfig(count=3, without_held_out=False)
    make_pool(artwork, PatchCodec.load(ASSETS), folder, config=config)
    made = {name: np.load(folder / f"{name}.npy") for name in NO_LINES}
    assert (made["depth"].shape, made["colour"].shape) == ((3, 2, 8192), (3, 16, 16, 3))
    for name in NO_LINES:
        (folder / f"{name}.npy").unlink()
    monkeypatch.setattr(Artwork, "load", lambda given: artwork)
    assert main(["maps", str(tmp_path), str(folder)]) == 0
    assert "added" in capsys.readouterr().out
    for name in NO_LINES:
        assert np.array_equal(np.load(folder / f"{name}.npy"), made[name])
    assert not add_maps(artwork, folder)
    with pytest.raises(InputError, match="no pool"):
        add_maps(artwork, tmp_path)


def test_the_cases_have_depth_maps_of_their_pictures() -> None:
    depths, pictures = load_depth_maps(), load_pictures()
    assert depths.shape == (128, SIZE, SIZE)
    assert set(np.unique(depths)) == {0, 128, 255}
    assert 20 <= sum(128 in depth for depth in depths) <= 24, "the pairs, one or the other of which may be hidden"
    ground = depths[0] == 0
    assert pictures[0][ground].std(axis=0).max() < 12, "what no object covers is plain"
