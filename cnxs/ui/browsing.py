"""What happens when the history is used. Records are named by their ids alone; the backend checks whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError
from cnxs.records import Gallery, Record, Search
from cnxs.request import MAX_SEED, Axis
from cnxs.ui import view, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.files import PictureFiles
from cnxs.ui.inputs import Fields
from cnxs.ui.restoring import Restoring

PAGE = 48  # records: whole rows of 2, 3, 4, 6 and 8
VARIATIONS = 4
MAX_RECENT = 8
ALL = "*"  # in the menus; no base or kind is called so


_EVERYTHING = Search()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the history a tab is."""

    search: Search = _EVERYTHING
    pages: tuple[str | None, ...] = (None,)  # after which record each page up to this one starts
    ids: tuple[str, ...] = ()  # of this page
    more: bool = False  # whether an older page follows
    chosen: str = ""  # the record that is seen large
    deleted: str = ""  # the record whose deletion can be undone


class Browsing:
    """Handlers of the history.

    Args:
        drawer: the history's own components by name; the page's other handlers know nothing of them.
    """

    def __init__(self, binding: Binding, restoring: Restoring, drawer: Fields) -> None:
        self.backend, self.files, self.restoring = binding.backend, binding.files, restoring
        self.updates = Binding(binding.backend, {**binding.fields, **drawer}, binding.files).updates
        self.thumbnails = PictureFiles(suffix=".webp", maximum=100 * PAGE)

    # --- pages -------------------------------------------------------------------------------------------------------

    def open(
        self, owner: str, words_: str, base: str | None, condition: str | None, favourites: bool, request: gr.Request
    ) -> Updates:
        """Show the newest page, what can be filtered by, and the recent prompts."""
        language, gallery = words.language(request), self.backend.history(owner)
        recent = gallery.recent_prompts(MAX_RECENT)
        bases = [(text.get("page.history_all_bases", language), ALL), *((name, name) for name in gallery.bases())]
        kinds = [(text.get("page.history_all_conditions", language), ALL)]
        kinds += [(_kind(kind, language), kind) for kind in gallery.conditions()]
        return self._page(gallery, Place(search=_search(words_, base, condition, favourites)), language) | self.updates(
            history_base=gr.update(choices=bases, value=base or ALL),
            history_condition=gr.update(choices=kinds, value=ALL if condition is None else condition),
            history_prompts=_prompts_html(recent, language),
            history_recent=recent,
        )

    def look(
        self, owner: str, words_: str, base: str | None, condition: str | None, favourites: bool, request: gr.Request
    ) -> Updates:
        """Show the newest page of what is looked for."""
        place = Place(search=_search(words_, base, condition, favourites))
        return self._page(self.backend.history(owner), place, words.language(request))

    def refresh(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Show what has come since; only the newest page moves under the eyes of its reader."""
        gallery = self.backend.history(owner)
        newest = [record.record_id for record in gallery.search(place.search, limit=1)]
        if len(place.pages) > 1 or newest == list(place.ids[:1]):
            return self.updates(history_place=gr.skip())
        return self._page(gallery, place, words.language(request))

    def older(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Turn to the next page."""
        return self._page(self.backend.history(owner), _older(place), words.language(request))

    def newer(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Turn to the page before."""
        return self._page(self.backend.history(owner), _newer(place), words.language(request))

    def _page(self, gallery: Gallery, place: Place, language: str) -> Updates:
        records = gallery.search(place.search, before=place.pages[-1], limit=PAGE + 1)
        if not records and len(place.pages) > 1:  # its last record was deleted
            return self._page(gallery, _newer(place), language)
        ids = tuple(record.record_id for record in records[:PAGE])
        place = replace(place, ids=ids, more=len(records) > PAGE)
        return self.updates(
            history_place=place,
            history_prints=self.prints(gallery, records[:PAGE], place, language),
            history_count=view.note_html(text.get("page.history_count", language, count=gallery.count(place.search))),
            history_pager=gr.update(visible=place.more or len(place.pages) > 1),
            history_newer=gr.update(interactive=len(place.pages) > 1),
            history_older=gr.update(interactive=place.more),
            history_undo_row=gr.update(visible=bool(place.deleted)),
        )

    def prints(self, gallery: Gallery, records: Sequence[Record], place: Place, language: str) -> dict[str, Any]:
        """Return the value of `cnxs.ui.gallery.Prints`: pictures as files that Gradio serves, and their words."""
        key = "page.history_none" if place.search != _EVERYTHING else "page.history_empty"
        return {
            "items": [self._print(gallery, record, language) for record in records],
            "empty": text.get(key, language),
        }

    def _print(self, gallery: Gallery, record: Record, language: str) -> dict[str, Any]:
        try:
            path = self.thumbnails.put(gallery.thumbnail(record.record_id))
            image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        except InputError:  # its file was damaged or removed by hand; the others are shown all the same
            image = None
        favourite = text.get("page.history_is_favourite", language) if record.favourite else ""
        return {
            "id": record.record_id,
            "image": image,
            "caption": record.request.prompt[:300] or text.get("page.history_no_prompt", language),
            "below": _followed(record, language),
            "favourite": favourite,
        }

    # --- one image large ---------------------------------------------------------------------------------------------

    def choose(self, owner: str, place: Place, event: gr.EventData, request: gr.Request) -> Updates:
        """Show an image large."""
        return self._large(self.backend.history(owner), replace(place, chosen=str(event.id)), words.language(request))

    def following(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Show the next, older image; the next page with it where this one ends."""
        return self._step(self.backend.history(owner), place, 1, words.language(request))

    def preceding(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Show the image before, a newer one."""
        return self._step(self.backend.history(owner), place, -1, words.language(request))

    def _step(self, gallery: Gallery, place: Place, step: int, language: str) -> Updates:
        at = place.ids.index(place.chosen) + step if place.chosen in place.ids else 0
        turned = {}
        if at < 0 or at >= len(place.ids):
            if (at < 0 and len(place.pages) == 1) or (at > 0 and not place.more):
                return self.updates(history_place=gr.skip())
            turned = self._page(gallery, _newer(place) if at < 0 else _older(place), language)
            place = self._place_in(turned, place)
            at = len(place.ids) - 1 if at < 0 else 0
        if not place.ids:
            return turned | self.back("", place)
        return turned | self._large(gallery, replace(place, chosen=place.ids[at]), language)

    def _place_in(self, updates: Updates, place: Place) -> Place:
        return next((value for value in updates.values() if isinstance(value, Place)), place)

    def _large(self, gallery: Gallery, place: Place, language: str) -> Updates:
        record = gallery.get(place.chosen)
        path = self.files.put(gallery.png(record.record_id))
        at = place.ids.index(place.chosen) if place.chosen in place.ids else 0
        favourite = "page.history_not_favourite" if record.favourite else "page.history_favourite"
        return self.updates(
            history_place=place,
            history_large=gr.update(visible=True),
            history_picture=path,
            history_facts=facts_html(record, language),
            history_previous=gr.update(interactive=at > 0 or len(place.pages) > 1),
            history_next=gr.update(interactive=at < len(place.ids) - 1 or place.more),
            history_favourite=text.get(favourite, language),
            history_download=gr.update(value=path),
        )

    def back(self, owner: str, place: Place) -> Updates:
        """Return to the page."""
        return self.updates(history_place=replace(place, chosen=""), history_large=gr.update(visible=False))

    def favourite(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Mark the image as a favourite, or no longer."""
        gallery, language = self.backend.history(owner), words.language(request)
        gallery.favourite(place.chosen, on=not gallery.get(place.chosen).favourite)
        changes = self._page(gallery, place, language)
        return changes | self._large(gallery, self._place_in(changes, place), language)

    def delete(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Move the image to the trash, and show the next one, or the page where it was the last."""
        gallery, language = self.backend.history(owner), words.language(request)
        gallery.delete(place.chosen)
        at = place.ids.index(place.chosen) if place.chosen in place.ids else 0
        changes = self._page(gallery, replace(place, chosen="", deleted=place.chosen), language)
        place = self._place_in(changes, place)
        if not place.ids:
            return changes | self.back(owner, place)
        return changes | self._large(gallery, replace(place, chosen=place.ids[min(at, len(place.ids) - 1)]), language)

    def undo(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Bring the deleted image back."""
        gallery = self.backend.history(owner)
        if place.deleted:
            gallery.undo_delete(place.deleted)
        return self._page(gallery, replace(place, deleted=""), words.language(request))

    # --- ways back to the workbench ----------------------------------------------------------------------------------

    def bring_back(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Lay the image's whole request out on the page."""
        record = self.backend.history(owner).get(place.chosen)
        return self.restoring.bring_back(record.request, words.language(request))

    def more_like(self, owner: str, place: Place, request: gr.Request) -> Updates:
        """Make small variations: the same request with the seeds that follow."""
        asked = self.backend.history(owner).get(place.chosen).request
        seeds = tuple((asked.seed + i) % (MAX_SEED + 1) for i in range(1, VARIATIONS + 1))
        job = self.backend.submit(replace(asked, axes=(Axis(name="seed", values=seeds),)), owner)
        return self.updates(job=job)

    def use_prompt(self, recent: Sequence[str], event: gr.EventData) -> str:
        """Return the chosen one of the recent prompts."""
        if not 0 <= int(event.cell) < len(recent):
            raise InputError("unknown_record")
        return recent[int(event.cell)]


def _older(place: Place) -> Place:
    return replace(place, pages=(*place.pages, place.ids[-1])) if place.more and place.ids else place


def _newer(place: Place) -> Place:
    return replace(place, pages=place.pages[:-1] or (None,))


def _search(words_: str, base: str | None, condition: str | None, favourites: bool) -> Search:
    return Search(
        text=words_ or "",
        base=None if base in (None, ALL) else base,
        condition=None if condition in (None, ALL) else condition,
        favourites=bool(favourites),
    )


def _kind(kind: str, language: str) -> str:
    key = f"kind.{kind}" if kind else "page.caption_none"
    return text.get(key, language) if key in text.entries() else kind


def _followed(record: Record, language: str) -> str:
    """Return what an image follows, and how closely."""
    uses = [use for use in record.request.controls if use.control_scale > 0]
    if not uses:
        return text.get("page.caption_none", language)
    return ", ".join(f"{_kind(use.kind, language)} · {view.number(use.control_scale, language)}" for use in uses)


def _prompts_html(prompts: Sequence[str], language: str) -> str:
    if not prompts:
        return ""
    title = escape(text.get("page.history_prompts", language))
    chips = "".join(
        f'<button type="button" class="chip" data-cell="{index}" title="{escape(prompt)}">{escape(prompt)}</button>'
        for index, prompt in enumerate(prompts)
    )
    return f'<div class="chips" role="group" aria-label="{title}"><span class="note">{title}</span>{chips}</div>'


def facts_html(record: Record, language: str) -> str:
    """Return everything that made an image, as a list of words and values."""
    asked = record.request
    rows: list[tuple[str, str]] = [("negative_prompt", asked.negative_prompt)]
    for use in asked.controls:
        if use.control_scale > 0:
            window = "" if (use.start, use.end) == (0.0, 1.0) else f" ({use.start:.0%} … {use.end:.0%})"
            rows += [
                ("kind", _kind(use.kind, language)),
                ("network", use.network),
                ("control_scale", view.number(use.control_scale, language) + window),
            ]
    if record.edge_agreement is not None:
        rows.append(
            ("history_agreement", text.get("page.agreement", language, percent=round(100 * record.edge_agreement)))
        )
    rows += [
        ("seed", str(asked.seed)),
        ("steps", str(asked.steps)),
        ("guidance_scale", view.number(asked.guidance_scale, language)),
        ("guidance_rescale", view.number(asked.guidance_rescale, language) if asked.guidance_rescale else ""),
        ("sampler", asked.sampler),
        ("history_size", f"{asked.width} x {asked.height}"),
        ("base", asked.base),
        ("history_made", f"{record.created.astimezone():%Y-%m-%d %H:%M}"),
    ]
    prompt = escape(asked.prompt or text.get("page.history_no_prompt", language))
    listed = "".join(
        f"<dt>{escape(text.get(f'page.{key}', language))}</dt><dd>{escape(value)}</dd>" for key, value in rows if value
    )
    return f'<p class="history-prompt">{prompt}</p><dl class="history-list">{listed}</dl>'
