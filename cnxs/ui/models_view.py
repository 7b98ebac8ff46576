"""The list of models as HTML: what is here, what can be downloaded, and how to get the rest."""

from collections.abc import Mapping, Sequence
from html import escape

from cnxs import text
from cnxs.errors import UserError
from cnxs.protocol import BaseInfo, DetectorInfo, DownloadInfo, Models, NetworkInfo
from cnxs.ui import form, view

Info = BaseInfo | NetworkInfo | DetectorInfo
Downloading = Mapping[str, DownloadInfo]


def models_html(models: Models, downloads: Sequence[DownloadInfo], base: str, asking: str, language: str) -> str:
    """Return the list of everything that can be chosen or fetched.

    Args:
        models: what there is.
        downloads: of this run.
        base: the chosen base model; networks of other families are marked.
        asking: the model whose download waits for a yes, "" for none.
        language: of the words.
    """
    running = {download.name: download for download in downloads}
    family = form.base_info(models, base).family
    networks = sorted(models.networks, key=lambda network: network.family != family)  # stable: those that fit first
    groups: tuple[tuple[str, Sequence[Info]], ...] = (
        ("page.models_bases", models.bases),
        ("page.models_networks", networks),
        ("page.models_detectors", models.detectors),
    )
    parts = []
    for heading, infos in groups:
        rows = [_row(info, running.get(info.name), info.name == asking, _told(info, models, base, language), language)
                for info in infos]  # fmt: skip
        parts.append(_group(heading, rows, language))
    addons = [
        _plain(addon.name, text.get(f"page.models_{kind}", language), addon.family, language)
        for kind, found in (("lora", models.loras), ("embedding", models.embeddings), ("vae", models.vaes))
        for addon in found
    ]
    parts.append(_group("page.models_addons", addons, language))
    parts.append(_group("page.models_unusable", [_unusable(error, language) for error in models.unusable], language))
    return f'<div class="models">{"".join(parts)}</div>'


def progress_of(downloads: Sequence[DownloadInfo], language: str) -> dict[str, dict[str, object]]:
    """Return what the list shows of running downloads: name -> fraction (0 to 1) and words."""
    return {
        download.name: {"fraction": _fraction(download), "words": _progress_words(download, language)}
        for download in downloads
        if download.state == "running"
    }


def size(count: int, language: str) -> str:
    """Return a number of bytes as people read it: "57 MB", "2.1 GB"."""
    if count < 10**9:
        return f"{view.number(max(1, round(count / 10**6)), language)} MB"
    return f"{view.number(round(count / 10**9, 1), language)} GB"


def _group(heading: str, rows: Sequence[str], language: str) -> str:
    if not rows:
        return ""
    return f"<section><h3>{escape(text.get(heading, language))}</h3><ul>{''.join(rows)}</ul></section>"


def _told(info: Info, models: Models, base: str, language: str) -> tuple[str, ...]:
    """Return what a row says beside its name: what it is good for, and its licence."""
    said: list[str] = []
    if isinstance(info, NetworkInfo) and info.family != form.base_info(models, base).family:
        said.append(text.get("page.models_not_for_base", language, base=form.base_info(models, base).label))
    if isinstance(info, DetectorInfo):
        said.append(", ".join(text.get(f"kind.{kind}", language) for kind in info.kinds))
    if info.licence:
        said.append(text.get("page.models_licence", language, licence=info.licence))
    if isinstance(info, DetectorInfo) and not info.commercial_use:
        said.append(text.get("page.models_non_commercial", language))
    return tuple(said)


def _row(info: Info, download: DownloadInfo | None, is_asking: bool, said: Sequence[str], language: str) -> str:
    is_running = download is not None and download.state == "running"
    state = "running" if is_running else info.state
    words = [_state(info, is_running=is_running, language=language), *said]
    below = ""
    if download is not None and download.state == "failed" and download.error is not None:
        below = f'<p class="failed" role="alert">{escape(download.error.sentence(language))}</p>'
    if is_running:
        assert download is not None
        below = _bar(download, language)
    elif info.state != "here":
        below += _question(info, language) if is_asking else _by_hand(info, language)
    button = ""
    if is_running:
        button = _button("cancel", info, "page.models_cancel", language)
    elif info.state == "downloadable" and not is_asking:
        again = download is not None and download.state != "finished"
        button = _button("ask", info, "page.models_go_on" if again else "page.models_download", language)
    shown = " · ".join(escape(word) for word in words)
    return (
        f'<li class="model {state}" data-model="{escape(info.name)}"><span class="name">{escape(info.label)}</span>'
        f'<span class="state">{shown}</span>{button}{below}</li>'
    )


def _state(info: Info, *, is_running: bool, language: str) -> str:
    if is_running:
        return text.get("page.models_running", language)
    if info.state == "downloadable":
        return text.get("page.models_downloadable", language, size=size(info.download_bytes, language))
    return text.get(f"page.models_{info.state}", language)


def _question(info: Info, language: str) -> str:
    repository, folder = _source(info)
    words = text.get(
        "page.models_question",
        language,
        size=size(info.download_bytes, language),
        licence=info.licence or "-",
        repository=repository,
        folder=folder,
    )
    yes = _button("start", info, "page.models_yes", language, kind="yes")
    no = _button("decline", info, "page.models_no", language)
    return f'<p class="question" role="alertdialog">{escape(words)} {yes}{no}</p>'


def _source(info: Info) -> tuple[str, str]:
    fields = dict(info.notes[0][1]) if info.notes else {}
    return str(fields.get("repository", "-")), str(fields.get("folder", "-"))


def _by_hand(info: Info, language: str) -> str:
    told = " ".join(text.get(key, language, **dict(fields)) for key, fields in info.notes)
    if not told:
        return ""
    summary = escape(text.get("page.models_by_hand", language))
    return f"<details><summary>{summary}</summary><p>{escape(told)}</p></details>"


def _bar(download: DownloadInfo, language: str) -> str:
    percent = round(100 * _fraction(download))
    name = escape(download.name)
    return (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"'
        f' aria-label="{name}" data-progress="{name}"><i style="width:{percent}%"></i></div>'
        f'<p class="progress">{escape(_progress_words(download, language))}</p>'
    )


def _fraction(download: DownloadInfo) -> float:
    return download.done_bytes / download.total_bytes if download.total_bytes else 0.0


def _progress_words(download: DownloadInfo, language: str) -> str:
    if not download.total_bytes:
        return text.get("page.models_asking_hub", language)
    return text.get(
        "page.models_progress",
        language,
        done=size(download.done_bytes, language),
        total=size(download.total_bytes, language),
    )


def _button(act: str, info: Info, key: str, language: str, *, kind: str = "") -> str:
    label = text.get(key, language)
    spoken = escape(f"{label}: {info.label}")
    return (
        f'<button type="button" class="{kind}" data-act="{act}" data-name="{escape(info.name)}" aria-label="{spoken}">'
        f"{escape(label)}</button>"
    )


def _plain(name: str, kind: str, family: str, language: str) -> str:
    words = " · ".join(escape(word) for word in (text.get("page.models_here", language), kind, family) if word)
    return f'<li class="model here"><span class="name">{escape(name)}</span><span class="state">{words}</span></li>'


def _unusable(error: UserError, language: str) -> str:
    return f'<li class="model unusable"><p class="failed">{escape(error.sentence(language))}</p></li>'
