"""Several places for one image, tried in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Optional

from org_ovirt_node.errors import PayloadError
from org_ovirt_node.i18n import _
from org_ovirt_node.payload.sources import WORKDIR, Patience, Source, StartOver, Stream, open_source

log = logging.getLogger(__name__)

#: The bytes in which two mirrors' files must not differ: the squashfs superblock has the time of the build, the size
#: and every table's place.
COMPARED = 96

Opener = Callable[[str], AbstractContextManager[Source]]


@contextmanager
def open_first(
    urls: Sequence[str],
    *,
    proxy: str = "",
    verify: bool = True,
    cacert: str = "",
    workdir: Path = WORKDIR,
    patience: Optional[Patience] = None,
) -> Iterator[Source]:
    """Open the first of ``urls`` that can be read; the rest stand by for the transfer.

    Raises PayloadError with every place's reason when none can be read.
    """

    def opener(url: str) -> AbstractContextManager[Source]:
        return open_source(url, proxy=proxy, verify=verify, cacert=cacert, workdir=workdir, patience=patience)

    if len(urls) == 1:
        with opener(urls[0]) as source:
            yield source
        return
    with MirrorSource(urls, opener) as mirrors:
        yield mirrors


class MirrorSource(Source):
    """A source that goes to the next place when one fails; the transfer then begins again (StartOver)."""

    def __init__(self, urls: Sequence[str], opener: Opener) -> None:
        self._left = list(urls)
        self._opener = opener
        self._open = ExitStack()
        self._reasons: list[PayloadError] = []
        first = self._next()
        if first is None:
            raise self._all_reasons()
        self._current = first
        self.size = self._current.size
        self._start = self._current.read_at(0, COMPARED)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._current.name

    @property
    def file_name(self) -> str:  # type: ignore[override]
        return self._current.file_name

    @property
    def path(self) -> Optional[Path]:  # type: ignore[override]
        return self._current.path

    def __enter__(self) -> MirrorSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Optional[Source]:
        """Open the next place that can be read, or None when there is none."""
        while self._left:
            self._open.close()
            try:
                return self._open.enter_context(self._opener(self._left.pop(0)))
            except PayloadError as exc:
                log.warning("%s", exc)
                self._reasons.append(exc)
        return None

    def _all_reasons(self) -> PayloadError:
        if not self._reasons:
            return PayloadError(_("No image is named"), hint=_("Give --image."))
        if len(self._reasons) == 1:
            return self._reasons[0]
        return PayloadError(
            _("The image can be read from no place: {reasons}").format(
                reasons="; ".join(exc.message for exc in self._reasons)
            )
        )

    def _same(self, other: Source) -> bool:
        sizes_agree = self.size is None or other.size is None or self.size == other.size
        return sizes_agree and other.read_at(0, COMPARED) == self._start

    def another(self, reason: PayloadError) -> bool:
        """Go to the next place that has the same image; the reason is kept for the last message."""
        self._reasons.append(reason)
        while (candidate := self._next()) is not None:
            try:
                if self._same(candidate):
                    log.warning("%s; going on with %s", reason, candidate.name)
                    self._current = candidate
                    return True
                self._reasons.append(
                    PayloadError(_("{name} is not the same image as the one before").format(name=candidate.name))
                )
            except PayloadError as exc:  # noqa: PERF203
                self._reasons.append(exc)
        return False

    def failed(self, reason: PayloadError) -> PayloadError:
        """What to raise after ``reason``: StartOver with the next place, or all the reasons."""
        if self.another(reason):
            return StartOver(
                _("{message}; reading {name} from its start").format(message=reason.message, name=self.name)
            )
        return self._all_reasons()

    def read_at(self, offset: int, length: int) -> bytes:
        while True:
            try:
                return self._current.read_at(offset, length)
            except PayloadError as exc:  # noqa: PERF203
                failure = self.failed(exc)
                if not isinstance(failure, StartOver):
                    raise failure from exc

    def stream(self, offset: int = 0) -> Stream:
        return _MirrorStream(self, self._current, offset)

    def close(self) -> None:
        self._open.close()


class _MirrorStream(Stream):
    """A stream of the current place, whose failure moves the source on."""

    def __init__(self, mirrors: MirrorSource, source: Source, offset: int) -> None:
        self._mirrors = mirrors
        self._stopped = False
        try:
            self._stream = source.stream(offset)
        except PayloadError as exc:
            raise mirrors.failed(exc) from exc

    def readinto(self, view: memoryview) -> int:
        try:
            return self._stream.readinto(view)
        except StartOver:
            raise
        except PayloadError as exc:
            if self._stopped:
                raise
            # Going on releases this place, which must not have an open file then.
            self._stream.close()
            raise self._mirrors.failed(exc) from exc

    def abort(self) -> None:
        self._stopped = True
        self._stream.abort()

    def close(self) -> None:
        self._stream.close()
