"""What a check found: counts, sizes, problems and examples; of an image no more than hashes and sizes is kept."""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wsss_mm.datasets.check.duplicates import groups, near_twins, same_bytes
from wsss_mm.datasets.check.image import ImageFacts, ImageJob
from wsss_mm.datasets.check.layouts import Layout, is_scored, is_training
from wsss_mm.datasets.check.problems import ERRORS, HEADINGS, Problem
from wsss_mm.datasets.label_readers import IGNORED

LISTED = 1000      # problems of a kind that are kept; all are counted
EXAMPLES = 4       # images of a class for the picture sheet
FLAGGED = 6        # images of a kind of problem for it
_LABELS = ('tags', 'boxes', 'masks', 'no label')


@dataclass
class SplitCounts:
    """Counts of one list.

    Attributes:
        images: Number of ids.
        labels: Images with ``tags``, ``boxes``, ``masks``, ``no label``.
        of_class, objects, pixels: ``(C,)`` int64 by segmentation id: images in which any label names the class, boxes,
            pixels of masks.
        ignored: Ignored pixels of masks.
    """

    images: int
    labels: Counter[str]
    of_class: np.ndarray
    objects: np.ndarray
    pixels: np.ndarray
    ignored: int = 0

    def add(self, facts: ImageFacts) -> None:
        """Count an image."""
        there = dict(tags=facts.tags, boxes=facts.objects, masks=facts.pixels)
        self.labels.update([kind for kind, found in there.items() if found is not None] or ['no label'])
        self.of_class[list(facts.present())] += 1
        for number, count in (facts.objects or {}).items():
            self.objects[number] += count
        for number, count in (facts.pixels or {}).items():
            if number == IGNORED:
                self.ignored += count
            else:
                self.pixels[number] += count


@dataclass
class CheckReport:
    """All that a check says.

    Attributes:
        layout: What was checked.
        splits: Counts by list.
        ids: Every image that was looked at.
        sizes: ``(N, 2)`` int32 height and width in the order of ``ids``; 0 where an image cannot be read.
        problems: By kind; at most :data:`LISTED` each.
        counts: How many there are, by kind.
        examples: Some images of each class, by name.
        flagged: Some images of each kind of problem, with what is said of them.
    """

    layout: Layout
    splits: dict[str, SplitCounts]
    ids: list[str]
    sizes: np.ndarray
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[ImageJob]] = field(default_factory=dict)
    flagged: dict[str, list[tuple[ImageJob, str]]] = field(default_factory=dict)

    def note(self, problem: Problem, job: ImageJob | None = None) -> None:
        """Count a problem, and keep it while there is room."""
        self.counts[problem.kind] += 1
        listed = self.problems.setdefault(problem.kind, [])
        if len(listed) < LISTED:
            listed.append(problem)
        if job is None and problem.image_id is not None:
            job = self.layout.job(problem.image_id)
        shown = self.flagged.setdefault(problem.kind, [])
        if job is not None and len(shown) < FLAGGED:
            shown.append((job, problem.text))

    def main_lists(self) -> dict[str, SplitCounts]:
        """The lists that are learned from or scored, those for training first; all of them if there are none."""
        there = {name: c for name, c in self.splits.items() if c.images}
        found = {name: c for name, c in there.items() if (is_training(name) or is_scored(name))
                 and not name.endswith(('_boxes', '_masks', '_objects'))}
        return dict(sorted((found or there).items(), key=lambda entry: not is_training(entry[0])))

    @property
    def errors(self) -> int:
        """How many findings break a run."""
        return sum(count for kind, count in self.counts.items() if kind in ERRORS)

    def lines(self, errors: bool, shown: int = 3) -> list[str]:
        """Findings as sentences, ``shown`` of each kind: those that break a run, or the remarks."""
        found = []
        for kind in HEADINGS:
            listed = self.problems.get(kind, [])
            if listed and (kind in ERRORS) == errors:
                found += [problem.text for problem in listed[:shown]]
                if self.counts[kind] > shown:
                    found.append(f'… and {self.counts[kind] - shown} more of this kind')
        return found

    def size_summary(self) -> dict[str, Any]:
        """Smallest, median and largest width, height, and images by their number of pixels."""
        known = np.flatnonzero(self.sizes[:, 0])
        if not len(known):
            return {}
        sizes = self.sizes[known].astype(np.int64)
        area = sizes.prod(1)
        named = {}
        for name, at in (('smallest', area.argmin()), ('largest', area.argmax())):
            named[name] = dict(image=self.ids[known[at]], width=int(sizes[at, 1]), height=int(sizes[at, 0]))
        spans = {name: [int(column.min()), float(np.median(column)), int(column.max())]
                 for name, column in (('height', sizes[:, 0]), ('width', sizes[:, 1]))}
        return spans | named | dict(different=len(np.unique(sizes, axis=0)))

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types."""
        names = self.layout.classes
        return dict(
            title=self.layout.title, root=str(self.layout.root), classes=list(names), images=len(self.ids),
            splits={split: dict(
                images=c.images, labels={kind: c.labels[kind] for kind in _LABELS}, ignored_pixels=c.ignored,
                classes={name: dict(images=int(c.of_class[i]), objects=int(c.objects[i]), pixels=int(c.pixels[i]))
                         for i, name in enumerate(names)}) for split, c in self.splits.items()},
            sizes=self.size_summary(),
            findings=[dict(kind=kind, breaks_a_run=kind in ERRORS, what=HEADINGS[kind], count=self.counts[kind],
                           listed=[dict(image=p.image_id, text=p.text) for p in self.problems[kind]])
                      for kind in HEADINGS if self.counts[kind]])

    def table(self) -> str:
        """Counts as Markdown: labels by list, images and boxes by class and list; and sizes."""
        rows: list[list[Any]] = [['list', 'images', *_LABELS]]
        rows += [[name, c.images, *(c.labels[kind] for kind in _LABELS)] for name, c in self.splits.items()]
        text, splits = [_table(rows)], self.main_lists()
        boxes = any(c.labels['boxes'] for c in splits.values())
        rows = [['images/boxes' if boxes else 'images', *splits]]
        for i, name in enumerate(self.layout.classes[1:], 1):
            rows.append([name, *(f'{c.of_class[i]}/{c.objects[i]}' if boxes else c.of_class[i]
                                 for c in splits.values())])
        text.append(_table(rows))
        size = self.size_summary()
        if size:
            spans = '; '.join(f'{name} {low} … {high}, median {middle:g}' for name, (low, middle, high) in
                              ((n, size[n]) for n in ('width', 'height')))
            text.append(f'sizes in pixels: {spans}; smallest {size["smallest"]["image"]}, largest '
                        f'{size["largest"]["image"]}')
        return '\n\n'.join(text)


def _table(rows: list[list[Any]]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ['| ' + ' | '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:],
                                                                                     strict=True))]) + ' |'
             for row in cells]
    rule = '|' + '|'.join(['-' * (widths[0] + 2), *('-' * (w + 1) + ':' for w in widths[1:])]) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


class Collector:
    """Adds up :class:`ImageFacts` into a :class:`CheckReport`.

    Args:
        layout: What is checked.
        ids: Its images in the order in which their facts will come.
    """

    def __init__(self, layout: Layout, ids: list[str]) -> None:
        size = len(layout.classes)
        self.report = CheckReport(layout, {
            name: SplitCounts(len(members), Counter(), *np.zeros((3, size), np.int64))
            for name, members in layout.splits.items()}, ids, np.zeros((len(ids), 2), np.int32))
        self._digests = np.zeros((len(ids), 16), np.uint8)
        self._looks = np.zeros((len(ids), 32), np.uint8)
        self._splits: dict[str, tuple[str, ...]] = {}
        for name, members in layout.splits.items():
            for image_id in members:
                self._splits[image_id] = (*self._splits.get(image_id, ()), name)
        self._examples: dict[int, list[tuple[int, str, ImageJob]]] = {}
        self._done = 0
        for problem in layout.problems:
            self.report.note(problem)

    def add(self, facts: ImageFacts) -> None:
        """Count the next image."""
        report, image_id = self.report, facts.job.image_id
        if facts.size is not None:
            report.sizes[self._done] = facts.size
            self._digests[self._done] = np.frombuffer(facts.digest, np.uint8)
            for number in facts.present():
                # the lowest by a hash of the id: a sample that does not depend on the order
                entry = (-zlib.crc32(image_id.encode()), image_id, facts.job)
                heap = self._examples.setdefault(number, [])
                if len(heap) < EXAMPLES:
                    heapq.heappush(heap, entry)
                else:
                    heapq.heappushpop(heap, entry)
        if facts.look is not None:
            self._looks[self._done] = np.frombuffer(facts.look, np.uint8)
        for name in self._splits[image_id]:
            report.splits[name].add(facts)
        for problem in facts.problems:
            report.note(problem, facts.job)
        self._done += 1

    def finish(self) -> CheckReport:
        """Compare the images with each other, and hand over what was found."""
        report = self.report
        names = report.layout.classes
        report.examples = {names[number]: [entry[2] for entry in sorted(heap, key=lambda e: (-e[0], e[1]))]
                           for number, heap in sorted(self._examples.items())}
        copies = same_bytes(self._digests)
        self._note_pairs(copies, 'same bytes', 'leak')
        hashed = np.flatnonzero(self._looks.any(1) & (copies < 0))
        near = np.full(len(report.ids), -1, np.int64)
        if len(hashed):
            first = near_twins(self._looks[hashed])
            near[hashed] = np.where(first >= 0, hashed[first], -1)
        self._note_pairs(near, 'near twin', 'near leak')
        self._note_classes()
        return report

    def _note_pairs(self, first: np.ndarray, kind: str, leak: str) -> None:
        report, lists = self.report, self.report.main_lists()
        for members in groups(first, report.ids):
            trained, scored = ([i for i in members if any(map(test, self._splits[i]))]
                               for test in (is_training, is_scored))
            # of an image that is in both lists the lists have spoken already
            apart = bool(trained and scored and len(set(trained) | set(scored)) > 1)
            found = kind if not apart or (leak == 'leak' and report.layout.published) else leak
            shown = ' = ' if kind == 'same bytes' else ' ≈ '
            parts = [f'{i} ({", ".join(name for name in self._splits[i] if name in lists)})' for i in members[:3]]
            more = f', and {len(members) - 3} more' if len(members) > 3 else ''
            problem = Problem(found, shown.join(parts) + more, members[0])
            report.note(problem)
            if len(report.flagged[found]) < FLAGGED:   # both are to be seen
                report.flagged[found].append((report.layout.job(members[1]), shown.strip() + f' {members[1]}'))

    def _note_classes(self) -> None:
        """Classes that no image for training has, and names of no use for scores."""
        report = self.report
        for split, counts in report.splits.items():
            labelled = counts.images - counts.labels['no label']
            if split not in ('train', 'val', 'trainaug') or not labelled:
                continue
            for number, name in enumerate(report.layout.classes):
                if number and not counts.of_class[number]:
                    report.note(Problem('classes', f'{split}: no image has {name}'))
