"""Training a control of one's own: a drawer over the page, like the history. The work is a child process."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from cnxs.errors import InputError
from cnxs.protocol import TrainingDesk, TrainingInfo, TrainingOrder
from cnxs.ui import training_view, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge
from cnxs.ui.inputs import Fields
from cnxs.ui.menus import BASE_FIELDS, Menus
from cnxs.ui.words import label

LOOK_SECONDS = 1.0  # between two looks at a running training
DEFAULT_MINUTES = 30
UPLOADS = ["image", ".zip", ".txt", ".jsonl"]

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_ORDER = ("from", "folder", "files", "caption", "condition", "base", "minutes", "name")
_SHOWN = ("status", "curve", "sheet", "stop", "start", "try", "look", "seen")
_MENUS = ("base", "kind", "network", "network_for", "kind_settings", "kinds_away")
_CLOSE = "() => window.cnxsTrain.close()"


def train_button(fields: Fields) -> None:
    """Add the button that opens the drawer."""
    fields["train"] = gr.Button(label("page.train"), size="sm", elem_id="train-open", scale=0, min_width=90)


def _drawer(desk: TrainingDesk) -> Fields:
    fields: Fields = {"seen": gr.State(()), "look": gr.Timer(LOOK_SECONDS, active=False)}
    with gr.Column(elem_id="train", elem_classes="drawer"):
        with gr.Row(elem_id="train-head", elem_classes="keep-row drawer-head"):
            gr.HTML(
                label("page.train_heading"),
                elem_classes="heading",
                html_template="<h2>${value}</h2>",
                apply_default_css=False,
            )
            close = gr.Button(label("page.history_close"), size="sm", elem_id="train-close", min_width=90)
            close.click(None, js=_CLOSE, **_QUIET)
        gr.HTML(label("page.train_intro"), html_template='<p class="note">${value}</p>', apply_default_css=False)
        with gr.Row(elem_id="train-body", equal_height=False):
            with gr.Column(scale=4, min_width=300):
                _order(fields, desk.conditions())
            with gr.Column(scale=7, min_width=320, elem_id="train-result"):
                _progress(fields)
    return fields


def _order(fields: Fields, conditions: Sequence[str]) -> None:
    fields["from"] = gr.Radio(
        [(label(f"page.train_from_{name}"), name) for name in ("files", "folder")],
        value="files",
        label=label("page.train_from"),
        elem_id="train-from",
        elem_classes="small-radio",
    )
    fields["files"] = gr.File(
        label=label("page.train_files"),
        file_count="multiple",
        file_types=UPLOADS,
        type="filepath",
        height=160,
        elem_id="train-files",
    )
    fields["folder"] = gr.Dropdown(
        [], label=label("page.train_folder"), info=label("hint.train_folder"), elem_id="train-folder", visible=False
    )
    fields["caption"] = gr.Textbox(
        label=label("page.train_caption"), info=label("hint.train_caption"), elem_id="train-caption", max_lines=2
    )
    fields["condition"] = gr.Radio(
        [(label(f"kind.{name}"), name) for name in conditions],
        value=conditions[0],
        label=label("page.train_condition"),
        info=label("hint.train_condition"),
        elem_id="train-condition",
        elem_classes="small-radio",
    )
    with gr.Row():
        fields["minutes"] = gr.Number(
            DEFAULT_MINUTES, label=label("page.train_minutes"), minimum=0, elem_id="train-minutes", min_width=100
        )
        fields["base"] = gr.Dropdown([], label=label("page.base"), elem_id="train-base", min_width=180)
    fields["name"] = gr.Textbox(
        label=label("page.train_name"), info=label("hint.train_name"), elem_id="train-name", max_lines=1
    )
    fields["start"] = gr.Button(label("page.train_start"), variant="primary", elem_id="train-start")


def _progress(fields: Fields) -> None:
    fields["status"] = gr.HTML("", elem_id="train-status", apply_default_css=False)
    fields["curve"] = gr.HTML("", elem_id="train-curve", apply_default_css=False)
    with gr.Row(elem_id="train-actions", elem_classes="keep-row"):
        fields["try"] = gr.Button(label("page.train_try"), visible=False, variant="primary", elem_id="train-try")
        fields["stop"] = gr.Button(label("page.train_stop"), visible=False, elem_id="train-stop")
    fields["sheet"] = gr.Image(
        label=label("page.train_sheet"),
        alt_text=label("page.train_sheet"),
        interactive=False,
        visible=False,
        format="png",
        buttons=["fullscreen"],
        elem_id="train-sheet",
    )


def train_drawer(page: gr.Blocks, binding: Binding, menus: Menus, desk: TrainingDesk) -> None:
    """Add the drawer, closed, and tie it to its handlers."""
    drawer = _drawer(desk)
    training = Training(binding, menus, desk, drawer)
    shown = [drawer[name] for name in _SHOWN]
    offered = [drawer[name] for name in ("folder", "base")]
    binding.fields["train"].click(
        edge(training.open),
        [drawer[name] for name in ("folder", "base", "seen")],
        [*shown, *offered],
        js="(...values) => { window.cnxsTrain.open(); return values; }",
        **_QUIET,
    )
    page.load(edge(training.look), drawer["seen"], shown, **_QUIET)
    drawer["look"].tick(edge(training.look), drawer["seen"], shown, trigger_mode="once", **_QUIET)
    drawer["from"].change(edge(training.choose_from), drawer["from"], [drawer["files"], drawer["folder"]], **_QUIET)
    drawer["start"].click(
        edge(training.start), [drawer[name] for name in _ORDER], [*shown, drawer["files"], drawer["from"], *offered],
        **_QUIET,
    )  # fmt: skip
    drawer["stop"].click(edge(training.stop), drawer["seen"], shown, **_QUIET)
    groups = [name for name in binding.fields if name.startswith("group.")]
    drawer["try"].click(
        edge(training.try_it),
        [binding.fields[name] for name in ("base", "source")],
        [binding.fields[name] for name in (*_MENUS, *groups, *BASE_FIELDS)],
        **_QUIET,
    ).success(None, js=_CLOSE, **_QUIET)


class Training:
    """Handlers of the drawer. Its state is the desk's; a page keeps what it has shown."""

    def __init__(self, binding: Binding, menus: Menus, desk: TrainingDesk, drawer: Fields) -> None:
        self.backend, self.files = binding.backend, binding.files
        self.menus, self.desk, self.drawer = menus, desk, drawer

    def updates(self, **changes: Any) -> Updates:
        """Return changes by component of the drawer."""
        return {self.drawer[name]: change for name, change in changes.items()}

    def open(self, folder: str | None, base: str | None, seen: tuple[Any, ...], request: gr.Request) -> Updates:
        """Offer what there is to train on, and show how far the training is."""
        return self._offered(folder, base) | self.look((), request)

    def look(self, seen: tuple[Any, ...], request: gr.Request) -> Updates:
        """Show what has changed since the last look."""
        info, language = self.desk.info(), words.language(request)
        is_running = info is not None and info.state in ("running", "stopping")
        changes: dict[str, Any] = {"status": training_view.status_html(info, language)}
        if (now := _seen(info)) != tuple(seen):
            changes |= {
                "curve": training_view.curve_html(info, language),
                "sheet": self._sheet(info),
                "start": gr.update(interactive=not is_running),
                "stop": gr.update(visible=is_running, interactive=info is not None and info.state == "running"),
                "try": gr.update(visible=info is not None and bool(info.network)),
                "look": gr.Timer(active=is_running),
                "seen": now,
            }
        return self.updates(**changes)

    def choose_from(self, source: str) -> Updates:
        """Show what belongs to a source of pictures."""
        return self.updates(files=gr.update(visible=source == "files"), folder=gr.update(visible=source == "folder"))

    def start(
        self,
        source: str,
        folder: str | None,
        files: list[str] | None,
        caption: str,
        condition: str,
        base: str | None,
        minutes: float | None,
        name: str,
        request: gr.Request,
    ) -> Updates:
        """Start a training; what was uploaded is a folder from then on."""
        uploads = tuple(files or ()) if source == "files" else ()
        if source == "files" and not uploads:
            raise InputError("training_no_files")
        order = TrainingOrder(
            name=name.strip(),
            base=base or "",
            condition=condition,
            minutes=float(minutes or 0),
            folder=folder or "",
            files=uploads,
            caption=" ".join(caption.split()),
        )
        self.desk.start(order)
        shown = self.look((), request) | self._offered(order.name if uploads else folder, base)
        return shown | self.updates(files=None, **{"from": "folder"})

    def stop(self, seen: tuple[Any, ...], request: gr.Request) -> Updates:
        """Ask the training to save and stop."""
        self.desk.stop()
        return self.look(seen, request)

    def try_it(self, base: str, source: str, request: gr.Request) -> Updates:
        """Choose the control in the menus, with its base and its condition."""
        info, models = self.desk.info(), self.backend.models()
        if info is None or not info.network or info.network not in {network.name for network in models.networks}:
            raise InputError("training_nothing_to_try")
        language = words.language(request)
        menus = self.menus.refreshed(models, info.base, source, language, kind=info.condition, network=info.network)
        return menus if info.base == base else menus | self.menus.defaults(models, info.base)

    def _offered(self, folder: str | None, base: str | None) -> Updates:
        folders, bases = self.desk.folders(), self.desk.bases()
        labels = {info.name: info.label for info in self.backend.models().bases}
        return self.updates(
            folder=gr.update(choices=list(folders), value=folder if folder in folders else next(iter(folders), None)),
            base=gr.update(
                choices=[(labels.get(name, name), name) for name in bases],
                value=base if base in bases else next(iter(bases), None),
            ),
        )

    def _sheet(self, info: TrainingInfo | None) -> Any:
        if info is None or info.sheet is None:
            return gr.update(value=None, visible=False)
        return gr.update(value=self.files.put(info.sheet), visible=True)


def _seen(info: TrainingInfo | None) -> tuple[Any, ...]:
    """Return what tells whether anything but the status line has to be shown anew."""
    if info is None:
        return ("none",)
    return (info.name, info.state, info.steps, len(info.held_out), len(info.sheet or b""), bool(info.network))
