"""The body of an import: from a source to an immutable dataset version.

Entries stream from the reader through the decoding processes into the store, and are
noted in a journal once they are safe there; only then is the version assembled. So a
killed import goes on from its journal, and importing the same again decodes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from strandline.data.cpu import usable_cpus
from strandline.data.decode import DecodeLimits
from strandline.data.decode_pool import DecodePool
from strandline.data.decode_worker import Decoded, Undecodable
from strandline.data.import_journal import ImportJournal
from strandline.data.sources.entries import (
    Entry,
    Expected,
    ReadContext,
    Skipped,
    Warned,
    refuse,
)
from strandline.data.sources.registry import read_source
from strandline.data.versions import Assembly, Imported, assemble, version_digest, write_items
from strandline.jobs.import_tally import ImportTally
from strandline.ports import Catalog, Clock, ObjectStore
from strandline.spec.errors import (
    EmptyImportError,
    InterruptedRunError,
    NotFoundError,
    UnusableDataError,
)
from strandline.spec.records import DatasetVersion, ImportReport, Refusal, canonical_json, digest_of
from strandline.spec.v1alpha1 import DatasetSpec, ImportLimits, to_document

_BATCH_IMAGES = 128
_BATCH_BYTES = 32_000_000
_BATCH_SECONDS = 2.0  # so that a killed import repeats little
_BATCHES_AHEAD = 1
_READ_AHEAD = 8

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Read:
    """An entry with its bytes, and what identified them when they were read."""

    entry: Entry
    identity: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry that an earlier run of this import stored."""

    entry: Entry
    image: str
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class _Refused:
    """An entry that cannot be read, or could not be decoded before."""

    entry: Entry
    why: Undecodable


_Looked = _Read | _Known | _Refused
Settle = Callable[[_Read, Decoded, str], None]
"""Take note of an image and the digest under which it is safe in the store."""


@dataclass(frozen=True, slots=True)
class ImportPlace:
    """The ports an import works with.

    Attributes:
        journal_dir: where it notes what is done, so that it can be resumed.
    """

    store: ObjectStore
    catalog: Catalog
    clock: Clock
    journal_dir: Path
    workers: int | None = None


def import_dataset(
    name: str,
    spec: DatasetSpec,
    place: ImportPlace,
    context: ReadContext,
    *,
    progress: Advance | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> ImportReport:
    """Import `spec.source` as the newest version of dataset `name`.

    The version holds what the source holds: images that went from the source since the
    last version are not in the new one. Nothing new in the source makes no new version.

    Raises:
        NotFoundError: there is nothing at the source's address.
        EmptyImportError: not one image could be imported.
        InterruptedRunError: `stop_requested`; the same call goes on from there.
    """
    tally = ImportTally()
    run = _ImportRun(place, spec, tally, progress or (lambda done, total: None))
    run.take_all(read_source(spec.source.uri, spec.source.format, context), stop_requested)
    if not tally.imported:
        raise EmptyImportError(tally.why_empty(spec.source.uri), tally.report_without_version(name))
    assembly = assemble(tally.imported, spec.task)
    version = _register(name, place, assembly, tally)
    return ImportReport(
        dataset=name,
        version=version.version,
        digest=version.digest,
        items=version.items,
        labels=version.labels,
        refused=tuple(tally.refused),
        exact_duplicates=assembly.exact_duplicates,
        near_duplicate_groups=assembly.near_duplicate_groups,
        warnings=(*tally.all_warnings(), *assembly.warnings),
        skipped=tally.skipped,
    )


class _Batches:
    """Images on their way into the store: kept in batches while the next are decoded.

    Used as a context manager; however the block ends, what was added is stored and settled.
    """

    def __init__(self, store: ObjectStore, settle: Settle) -> None:
        self._store = store
        self._settle = settle
        self._open: list[tuple[_Read, Decoded]] = []
        self._bytes = 0
        self._sent_at = time.monotonic()
        self._pending: deque[tuple[list[tuple[_Read, Decoded]], Future[list[str]]]] = deque()
        self._thread = ThreadPoolExecutor(1, "strandline-store")

    def __enter__(self) -> _Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._thread:
            self._send()
            self._settle_down_to(0)

    def add(self, read: _Read, decoded: Decoded) -> None:
        """Take an image over; settle it, sooner or later, once it is safe in the store."""
        self._open.append((read, decoded))
        self._bytes += len(_image_of(read, decoded))
        late = time.monotonic() - self._sent_at > _BATCH_SECONDS
        if late or len(self._open) >= _BATCH_IMAGES or self._bytes >= _BATCH_BYTES:
            self._send()
            self._settle_down_to(_BATCHES_AHEAD)

    def _send(self) -> None:
        images = [_image_of(read, decoded) for read, decoded in self._open]
        self._pending.append((self._open, self._thread.submit(self._store.put_all, images)))
        self._open, self._bytes = [], 0
        self._sent_at = time.monotonic()

    def _settle_down_to(self, count: int) -> None:
        while len(self._pending) > count:
            found, future = self._pending.popleft()
            for (read, decoded), image in zip(found, future.result(), strict=True):
                self._settle(read, decoded, image)


def _ahead(entries: Iterator[Entry], look_up: Callable[[Entry], _Looked]) -> Iterator[_Looked]:
    """Look entries up, in order: remote ones several at a time, local ones one by one."""
    pending: deque[Future[_Looked]] = deque()
    threads = ThreadPoolExecutor(_READ_AHEAD, "strandline-read")
    try:
        for entry in entries:
            while pending and (not entry.content.is_remote or len(pending) >= _READ_AHEAD):
                yield pending.popleft().result()
            if entry.content.is_remote:
                pending.append(threads.submit(look_up, entry))
            else:
                yield look_up(entry)
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _image_of(read: _Read, decoded: Decoded) -> bytes:
    return decoded.stored if decoded.stored is not None else read.data


class _ImportRun:
    """One pass over a source."""

    def __init__(
        self, place: ImportPlace, spec: DatasetSpec, tally: ImportTally, progress: Advance
    ) -> None:
        self._store = place.store
        self._place = place
        self._limits = spec.limits
        self._tally = tally
        self._progress = progress
        self._expected = 0
        name = digest_of(canonical_json(to_document(spec.limits)))
        self._journal_name = name

    def take_all(self, found: Iterator[object], stop_requested: Callable[[], bool] | None) -> None:
        """Decode, store and note every entry."""
        limits = limits_of(self._limits)
        workers = self._place.workers or usable_cpus()
        with (
            ImportJournal(self._place.journal_dir, self._journal_name) as journal,
            DecodePool[_Read](workers, limits, self._limits.timeout_seconds) as pool,
            _Batches(self._store, self._settler(journal)) as batches,
        ):
            entries = self._new_entries(found, journal, stop_requested)
            for read, outcome in pool.decode_all((read, read.data) for read in entries):
                if isinstance(outcome, Undecodable):
                    if outcome.is_final:
                        journal.record_refusal(read.identity, outcome)
                    self._refuse(read.entry, outcome)
                else:
                    batches.add(read, outcome)

    def _new_entries(
        self,
        found: Iterator[object],
        journal: ImportJournal,
        stop_requested: Callable[[], bool] | None,
    ) -> Iterator[_Read]:
        """Sort out what needs no decoding; yield the rest with its bytes."""
        entries = self._entries(found, stop_requested)
        for looked in _ahead(entries, lambda entry: self._look_up(entry, journal)):
            if isinstance(looked, _Read):
                yield looked
            elif isinstance(looked, _Known):
                self._accept(looked.entry, looked.image, looked.decoded)
            else:
                self._refuse(looked.entry, looked.why)

    def _entries(
        self, found: Iterator[object], stop_requested: Callable[[], bool] | None
    ) -> Iterator[Entry]:
        seen = 0
        for each in found:
            if stop_requested is not None and stop_requested():
                raise InterruptedRunError(
                    f"stopped after {len(self._tally.imported)} images; the same import goes on "
                    "from there"
                )
            if not isinstance(each, Entry):
                self._note(each)
                continue
            seen += 1
            if seen > self._limits.max_items:
                raise UnusableDataError(
                    f"the source has more than {self._limits.max_items:,} images: raise "
                    "limits.maxItems"
                )
            yield each

    def _look_up(self, entry: Entry, journal: ImportJournal) -> _Looked:
        """Find the entry in the journal, or read it."""
        try:
            # Told before reading: bytes that change meanwhile are read again next time.
            identity = entry.content.identity
            known = journal.lookup(identity)
            if isinstance(known, Undecodable):
                return _Refused(entry, known)
            if known is not None and self._store.size(known[0]) is not None:
                return _Known(entry, *known)
            return _Read(entry, identity, entry.content.read(self._limits.max_bytes))
        except (UnusableDataError, NotFoundError) as error:
            return _Refused(entry, Undecodable(str(error), "Unreadable"))

    def _settler(self, journal: ImportJournal) -> Settle:
        def settle(read: _Read, decoded: Decoded, image: str) -> None:
            journal.record(read.identity, image, decoded)
            self._accept(read.entry, image, decoded)

        return settle

    def _accept(self, entry: Entry, image: str, found: Decoded) -> None:
        self._tally.imported.append(
            Imported(
                image=image,
                source=entry.source,
                labels=entry.labels,
                split=entry.split,
                group=entry.group,
                width=found.width,
                height=found.height,
                media_type=found.media_type,
                notes=found.notes,
                fingerprint=found.fingerprint,
            )
        )
        self._advance()

    def _refuse(self, entry: Entry, why: Undecodable) -> None:
        self._tally.refuse(refuse(entry.source, why.reason, why.code))
        self._advance()

    def _note(self, found: object) -> None:
        if isinstance(found, Refusal):
            self._tally.refuse(found)
        elif isinstance(found, Skipped):
            self._tally.skipped += 1
        elif isinstance(found, Warned):
            self._tally.warn(found.message)
        elif isinstance(found, Expected):
            self._expected = found.count

    def _advance(self) -> None:
        done = self._tally.done
        self._progress(done, max(self._expected, done) if self._expected else 0)


def _register(
    name: str, place: ImportPlace, assembly: Assembly, tally: ImportTally
) -> DatasetVersion:
    before = _newest(place.catalog, name)
    if before is not None and len(assembly.items) < before.items:
        tally.warnings.append(
            f"version {before.version} had {before.items} images, the source now gives "
            f"{len(assembly.items)}: the rest is not in the new version"
        )
    return place.catalog.add_dataset_version(
        DatasetVersion(
            dataset=name,
            version=1,
            digest=version_digest(assembly.task, assembly.labels, assembly.items),
            task=assembly.task,
            labels=assembly.labels,
            items_object=write_items(place.store, assembly.items),
            items=len(assembly.items),
            labeled=sum(item.labels is not None for item in assembly.items),
            parent=before.digest if before is not None else None,
            created_at=place.clock.now(),
        )
    )


def _newest(catalog: Catalog, name: str) -> DatasetVersion | None:
    try:
        return catalog.get_dataset_version(name)
    except NotFoundError:
        return None


def limits_of(limits: ImportLimits) -> DecodeLimits:
    """Return the part of an import's limits that decoding an image needs."""
    return DecodeLimits(limits.max_bytes, limits.max_pixels)
