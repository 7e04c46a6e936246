"""Several people who send one image after another, while a test does something to the server."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.support.waiting import until


class Clients:
    """What they were answered: 200, or the words of a failure.

    Parameters
    ----------
    url, image
        Where they send which body.
    people
        How many there are.
    each
        How many more answers of each person, on average, are several.
    timeout_s, within_s
        For one answer, and for several.
    keep_connections
        Whether a person's next image goes through the same connection, or through one of its own.
    """

    def __init__(
        self,
        url: str,
        image: bytes,
        *,
        people: int,
        each: int,
        timeout_s: float,
        within_s: float,
        keep_connections: bool,
    ) -> None:
        self._url, self._image = url, image
        self._people, self._several = people, people * each
        self._timeout_s, self._within_s = timeout_s, within_s
        self._limits = httpx.Limits(max_keepalive_connections=None if keep_connections else 0)
        self._stop = threading.Event()
        self.answers: list[int | str] = []

    def _ask(self) -> None:
        with httpx.Client(timeout=self._timeout_s, limits=self._limits) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, content=self._image)
                    said = 200 if answer.status_code == 200 else answer.text
                except httpx.HTTPError as error:
                    said = repr(error)
                self.answers.append(said)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with ThreadPoolExecutor(self._people) as pool:
            futures = [pool.submit(self._ask) for _ in range(self._people)]
            try:
                self.several_more()
                yield
                self.several_more()
            finally:
                self._stop.set()
        for future in futures:
            future.result()

    def several_more(self) -> None:
        enough = len(self.answers) + self._several
        until(lambda: len(self.answers) >= enough, within_s=self._within_s)

    @property
    def failures(self) -> Counter[int | str]:
        return Counter(answer for answer in self.answers if answer != 200)
