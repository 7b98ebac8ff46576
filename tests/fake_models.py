"""The backend without a model, with models that are not here yet: a test decides when they arrive."""

from dataclasses import replace

from cnxs.errors import UnavailableError
from cnxs.protocol import AddonInfo, DetectorInfo, DownloadInfo, Models, NetworkInfo
from cnxs.registry import DETECTORS
from tests.fake_backend import BASES, FakeBackend

MEGABYTE = 10**6
FOLDER = "models/controls"

DEPTH = NetworkInfo(
    name="sd15-depth-53m",
    label="Depth 53M (authors)",
    family="sd15",
    condition="depth",
    kinds=("depth_midas", "as_is"),
    state="downloadable",
    licence="openrail",
    download_bytes=211 * MEGABYTE,
    notes=(
        (
            "note.put_file",
            {"file": "sd15_encD_depth_53m.ckpt", "repository": "CVL-Heidelberg/ControlNet-XS", "folder": FOLDER},
        ),
    ),
)


class ModelsBackend(FakeBackend):
    """A `FakeBackend` that lacks a base, a control and a detector, and can fetch them.

    `offline` makes them not to be had. `told(name, done, total)` and `end(name, error)` move a download.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offline = False
        self.here: set[str] = set()
        self.loras: tuple[AddonInfo, ...] = ()

    def models(self) -> Models:
        models = super().models()
        away = "missing" if self.offline else "downloadable"
        hed = DETECTORS["hed"]
        detector = DetectorInfo(
            name=hed.name,
            label=hed.label,
            kinds=("soft_edge_hed",),
            state="here" if hed.name in self.here else away,
            licence=hed.licence,
            commercial_use=False,
            download_bytes=hed.download_bytes,
        )
        return replace(
            models,
            bases=(
                BASES[0],
                replace(
                    BASES[1],
                    state="here" if "sd15" in self.here else away,
                    licence="CreativeML OpenRAIL-M",
                    download_bytes=2100 * MEGABYTE,
                ),
            ),
            networks=(*models.networks, replace(DEPTH, state="here" if DEPTH.name in self.here else away)),
            kinds=tuple(kind for kind in models.kinds if not kind.weights or set(kind.weights) <= self.here),
            detectors=(detector,),
            loras=self.loras,
        )

    def told(self, name: str, done: int, total: int) -> None:
        self.fetched[name] = DownloadInfo(name=name, state="running", done_bytes=done, total_bytes=total)

    def end(self, name: str, error: UnavailableError | None = None) -> None:
        if error is None:
            self.here.add(name)
        self.fetched[name] = DownloadInfo(name=name, state="failed" if error else "finished", error=error)
