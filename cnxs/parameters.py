"""Settings in the forms of other tools: A1111 / Forge parameter text (written and read), ComfyUI graphs (read).

The text's form is that of AUTOMATIC1111's `infotext_utils`: prompt, `Negative prompt: ...`, one line `Steps: 20, ...`.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from cnxs.errors import InputError
from cnxs.request import GenerationRequest, Sampler, validate

Read = tuple[GenerationRequest | None, tuple[str, ...]]

_SAMPLER_LABELS: dict[Sampler, str] = {
    "ddim": "DDIM",
    "euler": "Euler",
    "dpmpp_2m": "DPM++ 2M",
    "unipc": "UniPC",
    "lcm": "LCM",
}
_GRAPH_SAMPLERS: dict[str, Sampler] = {
    "ddim": "ddim",
    "euler": "euler",
    "dpmpp_2m": "dpmpp_2m",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc",
    "lcm": "lcm",
}
_SCHEDULES = ("Karras", "Exponential", "Polyexponential", "SGM Uniform", "Simple", "Uniform", "Normal", "Beta")

MAX_CHARACTERS = 1_000_000
_MAX_SETTINGS_LINE = 20_000
_MAX_UNMAPPED = 50
_MAX_HOPS = 50

# Bounded repetition keeps the search linear in the length of a hostile line.
_SETTING = re.compile(r'(\w[\w \-/]{0,60}):[ ]?("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LORA = re.compile(r"<lora:([^:<>]{1,200}):(-?[0-9]{1,4}(?:\.[0-9]{1,8})?)(?::[^<>]{0,100})?>")


def write(request: GenerationRequest) -> str:
    """Return an axis-free request as A1111 parameter text."""
    loras = "".join(f" <lora:{name}:{weight:g}>" for name, weight in request.loras)
    settings: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": _SAMPLER_LABELS[request.sampler],
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": request.base,
    }
    if request.guidance_rescale:
        settings["CFG Rescale"] = f"{request.guidance_rescale:g}"
    if request.clip_skip:
        settings["Clip skip"] = request.clip_skip + 1  # A1111 counts from 1: 1 leaves nothing out
    for index, use in enumerate(request.controls):
        settings[f"ControlNet {index}"] = (
            f"Module: {use.kind}, Model: {use.network}, Weight: {use.control_scale:g}, "
            f"Guidance Start: {use.start:g}, Guidance End: {use.end:g}"
        )
    lines = [request.prompt + loras]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in settings.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def read_text(text: str, *, start: GenerationRequest, bases: Collection[str]) -> Read:
    """Read A1111 or Forge parameter text.

    Args:
        text: the content of a PNG's "parameters".
        start: gives the values that the text does not name.
        bases: names of the base models there are; another model is listed as not restored.

    Returns:
        The request, and what could not be restored, as "name: value"; no request if this is no parameter text.

    Raises:
        InputError: if the text is longer than a million characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError("settings_damaged", reason=f"> {MAX_CHARACTERS} characters")
    *lines, last = text.strip().split("\n")
    settings = dict(_SETTING.findall(last)) if len(last) <= _MAX_SETTINGS_LINE else {}
    if "Steps" not in settings:
        return None, ()
    negative_at = next((i for i, line in enumerate(lines) if line.startswith("Negative prompt:")), len(lines))
    draft = _Draft(start, bases)
    draft.prompt("\n".join(lines[:negative_at]))
    draft.set(
        "Negative prompt", negative_prompt="\n".join(lines[negative_at:]).removeprefix("Negative prompt:").strip()
    )
    for name, value in settings.items():
        _apply_setting(draft, name, _unquoted(value.strip()))
    return draft.request, draft.listed()


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _apply_setting(draft: "_Draft", name: str, value: str) -> None:
    match name:
        case "Steps":
            draft.number(name, value, "steps", int)
        case "CFG scale":
            draft.number(name, value, "guidance_scale", float)
        case "CFG Rescale" | "CFG Rescale φ" | "CFG rescale":
            draft.number(name, value, "guidance_rescale", float)
        case "Seed":
            draft.number(name, value, "seed", int)
        case "Clip skip":
            draft.number(name, value, "clip_skip", lambda text: int(text) - 1)
        case "Size":
            size = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value)
            draft.set(f"{name}: {value}", **({"width": int(size[1]), "height": int(size[2])} if size else {}))
        case "Sampler":
            schedule = next((s for s in _SCHEDULES if value.endswith(f" {s}")), "")
            if schedule:
                draft.unmapped.append(f"Schedule type: {schedule}")
            label = value.removesuffix(f" {schedule}")
            sampler = next((key for key, known in _SAMPLER_LABELS.items() if known == label), None)
            draft.set(f"{name}: {value}", **({"sampler": sampler} if sampler else {}))
        case "Model":
            draft.base(name, value)
        case "Model hash" | "Version" | "Lora hashes" | "Hashes" | "VAE hash":
            pass  # they name files, and change nothing beyond them
        case _ if (name, value) == ("Schedule type", "Automatic"):
            pass
        case _:
            draft.unmapped.append(f"{name}: {value}")


class _Draft:
    """A request that grows setting by setting; what does not fit is listed instead."""

    def __init__(self, start: GenerationRequest, bases: Collection[str]) -> None:
        self.request = replace(start, controls=(), loras=(), axes=(), live=False)
        self.bases = bases
        self.unmapped: list[str] = []

    def set(self, label: str, **changes: Any) -> None:
        try:
            changed = replace(self.request, **changes)
            validate(changed, size_multiple=1)
        except InputError:
            changes = {}
        if changes:
            self.request = changed
        else:
            self.unmapped.append(label)

    def number(self, label: str, value: object, field: str, convert: Any) -> None:
        try:
            self.set(f"{label}: {value}", **{field: convert(value)})
        except (ValueError, TypeError, OverflowError):
            self.unmapped.append(f"{label}: {value}")

    def prompt(self, text: str) -> None:
        loras = tuple((name, float(weight)) for name, weight in _LORA.findall(text))
        self.set("Prompt", prompt=_LORA.sub("", text).strip(), loras=loras)

    def base(self, label: str, name: str) -> None:
        known = next((base for base in (name, PurePath(name).stem) if base in self.bases), None)
        self.set(f"{label}: {name}", **({"base": known} if known else {}))

    def listed(self) -> tuple[str, ...]:
        shortened = dict.fromkeys(entry if len(entry) <= 120 else entry[:119] + "…" for entry in self.unmapped)
        return tuple(shortened)[:_MAX_UNMAPPED]


# --- ComfyUI ------------------------------------------------------------------------------------------------------

_QUIET_NODES = {"SaveImage", "PreviewImage", "VAEDecode", "VAEDecodeTiled", "Note", "Reroute"}


def read_graph(text: str, *, start: GenerationRequest, bases: Collection[str]) -> Read:
    """Read a ComfyUI "prompt" graph: what leads to its first sampler node. Arguments as for `read_text`.

    Raises:
        InputError: if it is no graph, or longer than a million characters.
    """
    graph = _Graph(text)
    samplers = graph.of_kind("KSampler", "KSamplerAdvanced")
    draft = _Draft(start, bases)
    if not samplers:
        draft.unmapped += graph.unused()
        return None, draft.listed()
    inputs = graph.use(samplers[0])
    draft.prompt(graph.prompt(inputs.get("positive"), "positive"))
    draft.set("Negative prompt", negative_prompt=graph.prompt(inputs.get("negative"), "negative"))
    draft.number("steps", graph.literal(inputs.get("steps")), "steps", int)
    draft.number("cfg", graph.literal(inputs.get("cfg")), "guidance_scale", float)
    draft.number("seed", graph.literal(inputs.get("seed", inputs.get("noise_seed"))), "seed", int)
    sampler = graph.literal(inputs.get("sampler_name"))
    known = _GRAPH_SAMPLERS.get(str(sampler))
    draft.set(f"sampler_name: {sampler}", **({"sampler": known} if known else {}))
    if (scheduler := graph.literal(inputs.get("scheduler", "normal"))) != "normal":
        draft.unmapped.append(f"scheduler: {scheduler}")
    if (denoise := graph.literal(inputs.get("denoise", 1))) != 1:
        draft.unmapped.append(f"denoise: {denoise}")
    _read_size(draft, graph, inputs.get("latent_image"))
    _read_model(draft, graph, inputs.get("model"))
    draft.unmapped += graph.unused()
    return draft.request, draft.listed()


def _read_size(draft: _Draft, graph: "_Graph", link: object) -> None:
    inputs = graph.peek(link)
    width, height = graph.literal(inputs.get("width")), graph.literal(inputs.get("height"))
    if not isinstance(width, int) or not isinstance(height, int):
        draft.unmapped.append("latent_image")
        return
    graph.use(link)
    draft.set(f"size: {width}x{height}", width=width, height=height)


def _read_model(draft: _Draft, graph: "_Graph", link: object) -> None:
    for _ in range(_MAX_HOPS):
        inputs = graph.peek(link)
        if "ckpt_name" in inputs:
            graph.use(link)
            draft.base("ckpt_name", str(inputs["ckpt_name"]))
            return
        if graph.kind(link) == "RescaleCFG":
            graph.use(link)
            draft.number("RescaleCFG", graph.literal(inputs.get("multiplier")), "guidance_rescale", float)
        if "lora_name" in inputs:
            graph.use(link)
            name, weight = PurePath(str(inputs["lora_name"])).stem, inputs.get("strength_model", 1.0)
            draft.number(f"lora {name}", weight, "loras", lambda w, n=name: (*draft.request.loras, (n, float(w))))
        link = inputs.get("model")
    draft.unmapped.append("model")


class _Graph:
    """Nodes by id, each {"class_type": str, "inputs": {name: value or [node id, output]}}. Which were used is kept."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise InputError("settings_damaged", reason=f"> {MAX_CHARACTERS} characters")
        try:
            nodes = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError("settings_damaged", reason=str(error)) from error
        if not isinstance(nodes, dict):
            raise InputError("settings_damaged", reason="prompt")
        self._nodes: dict[str, Any] = {name: node for name, node in nodes.items() if isinstance(node, dict)}
        self._used: set[str] = set()

    def of_kind(self, *kinds: str) -> list[list[object]]:
        """Return links to the nodes of these kinds, in the graph's order."""
        return [[name, 0] for name, node in self._nodes.items() if node.get("class_type") in kinds]

    def kind(self, link: object) -> object:
        """Return the kind of the node that a link leads to."""
        return self._nodes.get(str(link[0]), {}).get("class_type") if isinstance(link, list) and link else None

    def peek(self, link: object) -> Mapping[str, Any]:
        """Return the inputs of the node that a link leads to; none for anything else."""
        if not (isinstance(link, list) and link):
            return {}
        inputs = self._nodes.get(str(link[0]), {}).get("inputs")
        return inputs if isinstance(inputs, dict) else {}

    def use(self, link: object) -> Mapping[str, Any]:
        """Return the inputs of a node, and count it as understood."""
        if isinstance(link, list) and link:
            self._used.add(str(link[0]))
        return self.peek(link)

    def literal(self, value: object) -> object:
        """Follow links to a plain value: a node's "text", "value", ... or its first plain input."""
        for _ in range(_MAX_HOPS):
            if not isinstance(value, list):
                return value
            inputs = self.use(value)
            named = [inputs[key] for key in ("text", "value", "string", "seed", "int", "float") if key in inputs]
            value = next(iter([*named, *inputs.values()]), None)
        return None

    def prompt(self, link: object, side: str) -> str:
        """Return the text that a conditioning link starts from."""
        for _ in range(_MAX_HOPS):
            inputs = self.peek(link)
            for key in ("text", "text_g"):
                if key in inputs:
                    self.use(link)
                    text = self.literal(inputs[key])
                    return text if isinstance(text, str) else ""
            followed = (side, "conditioning", "conditioning_1", "conditioning_to")
            link = next((inputs[key] for key in followed if key in inputs), None)
        return ""

    def unused(self) -> list[str]:
        """Return the kinds of the nodes that were not understood."""
        kinds = [str(node.get("class_type")) for name, node in self._nodes.items() if name not in self._used]
        return [kind for kind in kinds if kind not in _QUIET_NODES]
