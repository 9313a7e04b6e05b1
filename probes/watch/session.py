"""One watch from beginning to end: look, read, wait, measure, in turns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.store import Store
from probes.checkpoints.content import ChangedError, GoneError, digest_of
from probes.heartbeat import Heartbeat
from probes.insisting import insist
from probes.watch.events import Doing, Listener, Measured, Said
from probes.watch.files import Files
from probes.watch.measuring import Measuring, RefusedError
from probes.watch.options import Options
from probes.watch.runs import Runs
from probes.watch.unreadable import Unreadable
from probes.watch.waiting import Waiting, first

#: Seconds a file must hold its size and times before it is read.
SETTLE = 1.0
#: Seconds without any change after which a file that cannot be read is reported.
_GRACE = 10.0
#: Seconds ``once`` waits for files that never hold still.
_RESTLESS = 60.0


@dataclass(frozen=True)
class Summary:
    """What a watch has done.

    Attributes:
        measured: checkpoints measured.
        known: files whose content was in the store already, or in another file.
        unreadable: files that could not be read or measured when it ended, with the reason.
        failed: measurements that raised, and checkpoints without states to measure at.
    """

    measured: int
    known: int
    unreadable: dict[str, str]
    failed: int


class Session:
    """A watch with its store open; ``run`` goes on until there is a reason to end.

    Args:
        root: the directory, absolute.
        store: open for writing.
        options: the watch's numbers and switches.
        tell: is told what happens.
    """

    def __init__(self, root: Path, store: Store, options: Options, tell: Listener) -> None:
        self.root, self.options, self.tell = root, options, tell
        self._files = Files(root, options.pattern, min(SETTLE, options.poll))
        self._unreadable = Unreadable(0.0 if options.once else _GRACE)
        self._heart = Heartbeat()
        self._runs = Runs(store, root, options, self._heart)
        self._measuring = Measuring(root, options, self._runs, tell)
        self._waiting: dict[Path, Waiting] = {}
        self._contents: dict[Path, str] = {}
        self._served: dict[Path, int] = {}
        self._only: frozenset[Path] | None = None
        self._measured = self._known = self._failed = 0
        self._absent = False
        self._active = time.monotonic()

    def run(self) -> None:
        """Look, and measure what is found, until it ends by itself."""
        with self._heart:
            if self._runs.contents:
                self.tell(Said(f"{len(self._runs.contents)} checkpoints are in the store already"))
            while True:
                self._look()
                if self._waiting:
                    chosen = first(self._waiting.values(), latest=self.options.latest, served=self._served)
                    self._served[chosen.path.parent] = max(self._served.values(), default=0) + 1
                    self._measure(chosen)
                    self._active = time.monotonic()
                elif self._is_over():
                    return
                else:
                    self.tell(Doing(self._state()))
                    time.sleep(min(self.options.poll, SETTLE) if self._restless else self.options.poll)

    def close(self, status: str, message: str = "") -> Summary:
        """Mark the runs that this watch has taken up, and say what was done."""
        for run in self._runs.running:
            run.writer.heartbeat(max(run.step, 0))
            run.writer.finish(status, message)  # type: ignore[arg-type]
        left = {
            self._below(path): reason for path, reason in (self._unreadable.reasons | self._measuring.refused).items()
        }
        return Summary(self._measured, self._known, left, self._failed)

    # Looking -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        rested = self._files.look()
        if self._files.missing and not self._absent:
            self.tell(Said(f"there is no directory {self.root} yet; waiting for it"))
        self._absent = self._files.missing
        for line in self._files.news():
            self.tell(Said(line))
        if self.options.once and self._only is None:
            self._only = self._files.present
        self._forget_what_is_gone()
        for number, path in enumerate(rested):
            if self._only is None or path in self._only:
                self._active = time.monotonic()
                self.tell(Doing(f"reading {self._below(path)} ({number + 1} of {len(rested)})"))
                self._consider(path)
        for path in self._unreadable.due():
            # Once more, since what a network file system refuses it may give a moment later.
            self._consider(path)
            if reason := self._unreadable.report(path):
                self.tell(Said(f"{self._below(path)}: {reason}; tried again when it changes"))

    def _forget_what_is_gone(self) -> None:
        for path in [path for path in self._contents if path not in self._files.present]:
            del self._contents[path]
            if self._waiting.pop(path, None):
                self.tell(Said(f"{self._below(path)}: deleted or renamed before it was measured"))
        for found in (self._unreadable, self._measuring.refused):
            for path in [path for path in found if path not in self._files.present]:
                found.pop(path)

    def _consider(self, path: Path) -> None:
        """Read a file that has come to rest: it waits to be measured unless its content is known."""
        try:
            digest = digest_of(path)
            twin = self._twin(path, digest)
            waiting = self._waiting.get(path)
            if not twin and (waiting is None or waiting.digest != digest):
                saved = self.options.read(path, digest)
                if waiting is not None:
                    self.tell(Said(f"{self._below(path)}: written anew before step {waiting.step} was measured"))
                self._waiting[path] = Waiting(path, digest, saved.step if saved.dated else None)
        except (GoneError, ChangedError):
            # The next look sees it.
            return
        except GradlabError as error:
            self._waiting.pop(path, None)
            self._unreadable.failed(path, str(error))
            return
        self._contents[path] = digest
        self._unreadable.pop(path)
        if twin:
            self._waiting.pop(path, None)
            self._known += 1
            if twin != path.name:
                self.tell(Said(f"{self._below(path)}: the same content as {twin}; not measured twice"))

    def _twin(self, path: Path, digest: str) -> str:
        """Name of the file in which this content was measured, or waits."""
        if digest in self._runs.contents:
            return self._runs.contents[digest]
        return next(
            (self._below(one.path) for one in self._waiting.values() if one.digest == digest and one.path != path), ""
        )

    # Measuring ---------------------------------------------------------------------------------------------

    def _measure(self, chosen: Waiting) -> None:
        del self._waiting[chosen.path]
        begun = time.perf_counter()
        try:
            saved = self.options.read(chosen.path, chosen.digest)
            done = self._measuring.measure(saved, chosen, self._contents, len(self._waiting))
        except GoneError:
            self.tell(Said(f"{self._below(chosen.path)}: deleted or renamed before it was measured"))
            return
        except ChangedError:
            self.tell(Said(f"{self._below(chosen.path)}: written anew before it was measured"))
            return
        except RefusedError as error:
            if error.news:
                self.tell(Said(f"{self._below(chosen.path)}: {error}"))
            return
        run, results = done.run, done.results
        insist(lambda: run.keep(saved, done.step, results, done.note, done.marks), self._say)
        self._runs.contents[chosen.digest] = chosen.path.name
        if done.note.status == "ok":
            self._runs.moved(run, done.step, chosen.digest)
        insist(lambda: run.writer.heartbeat(max(run.step, 0)), self._say)
        self._measured += 1
        self._failed += sum(result.status == "failed" for result in (done.note, *results))
        if done.note.message:
            self.tell(Said(f"{self._below(chosen.path)}: {done.note.message}"))
        seconds = time.perf_counter() - begun
        path = self._below(chosen.path)
        self.tell(Measured(path, saved.algorithm, run.environment, done.step, results, seconds, len(self._waiting)))

    def _say(self, text: str) -> None:
        self.tell(Said(text))

    # Ending ------------------------------------------------------------------------------------------------

    @property
    def _restless(self) -> bool:
        growing = self._files.growing if self._only is None else self._files.growing & self._only
        return bool(growing) or self._unreadable.pending

    def _is_over(self) -> bool:
        quiet = time.monotonic() - self._active
        if self.options.once:
            return not self._restless or quiet > _RESTLESS
        return self.options.idle_exit is not None and quiet > 60 * self.options.idle_exit

    def _state(self) -> str:
        if self._absent:
            return f"waiting for the directory {self.root}"
        counts = {"being written": len(self._files.growing), "not readable": len(self._unreadable.reasons)}
        more = "".join(f", {count} {what}" for what, count in counts.items() if count)
        return f"watching {self.root}: {self._measured} measured{more}"

    def _below(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()
