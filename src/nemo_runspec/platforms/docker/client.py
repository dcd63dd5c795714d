"""Docker's client: jobs are made, started, watched and ended exactly once, whatever happens to the replies."""

from __future__ import annotations

import dataclasses
import posixpath
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import GoneError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import AbandonedError, refuse_if_abandoned
from nemo_runspec.platforms.creation import before_sending
from nemo_runspec.platforms.docker.containers import Container, seen
from nemo_runspec.platforms.docker.engine import Engine, engine_address
from nemo_runspec.platforms.docker.folder import JobFolder
from nemo_runspec.platforms.docker.request import DIGEST_LABEL
from nemo_runspec.platforms.docker.troubles import missing
from nemo_runspec.platforms.following import follow
from nemo_runspec.platforms.http import Patience, Repetition, TransientError
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.small_files import read_file
from nemo_runspec.platforms.workload import NAME, JobState, Seen, Submitted, job_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nemo_runspec.platforms.workload import Request

_CONFLICT: Final = 409
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SILENT_LOG_S: Final = 300
PATIENCE: Final = Patience(deadline_s=60, look_s=10, quiet_s=30, first_wait_s=0.2, longest_wait_s=2, poll_s=0.2)
"""An engine on the same machine answers at once, or not at all."""


class DockerClient:
    """A Docker engine, as a `nemo_runspec.platforms.workload.Platform`.

    A job is one container or several, and accepted when all of them have been created. Who is killed before has made no
    job; who is killed after has made one, which `find` starts.

    Args:
        address: Of the engine, as in DOCKER_HOST; that of the `docker` command when empty.
        grace_s: Seconds between SIGTERM and SIGKILL.
        patience: How long to wait.

    Raises:
        ProfileError: The engine is on another machine.
    """

    def __init__(self, address: str = "", *, grace_s: float = 10, patience: Patience = PATIENCE) -> None:
        """Ask nothing yet."""
        self.address = address or engine_address()
        self._grace_s = grace_s
        self._patience = patience
        self._engine = Engine(self.address, work_s=patience.deadline_s, look_s=patience.look_s)
        self._stopping: set[str] = set()
        self._tidied: set[str] = set()

    def submit(self, request: Request, name: str) -> Submitted:
        """Make the job's folder and its containers, and start them; see `Platform.submit`.

        Raises:
            RefusedError: The engine does not take it, or the name is another job's; nothing of it is left.
            DeniedError: The engine is not ours to use.
            UnreachableError: The engine has not answered; `find` tells what it has made.
        """
        refuse_if_abandoned()
        if request.after:
            message = "Docker starts a job at once: it cannot wait for others"
            raise RefusedError(message)
        body = request.filled({NAME: name})
        folder = JobFolder(Path(job_folder(body["home"], name)))
        with folder.locked(self._patience.deadline_s, make=True):
            try:
                there = before_sending(lambda: self._engine.containers(name))  # fails at once where there is no engine
            except PlatformError:
                folder.discard_unused()
                raise
            if there and {one.digest for one in there} != {request.digest}:
                message = f"the name '{name}' is taken by another job of the Docker engine"
                raise RefusedError(message, status=_CONFLICT)
            try:
                if not _is_whole(there):
                    folder.fill(request)
                self._insist(lambda: self._complete(body, name, request.digest, folder), name)
            except (RefusedError, GoneError):
                folder.discard()
                raise
        return Submitted("docker", request.kind, name, name)

    def _insist(self, complete: Callable[[], None], name: str) -> None:
        """Go on after lost replies: what was made is found again by its name."""
        repetition = Repetition(self._patience, self._patience.deadline_s)
        while True:
            try:
                return complete()
            except UnreachableError as error:
                lost = error
            try:
                repetition.wait(TransientError(lost.message))
            except (UnreachableError, AbandonedError) as given_up:
                message = f"it is not known whether the job '{name}' was started: {lost.message}"
                remedy = f"Look for '{name}' when the engine runs again, before you submit it again."
                raise UnreachableError(message, remedy=remedy) from given_up

    def _complete(self, body: Mapping[str, Any], name: str, digest: str, folder: JobFolder) -> None:
        there = self._engine.containers(name)
        if not _is_whole(there):
            there = self._make(body, name, digest, folder)
        self._start(there, folder)

    def _make(self, body: Mapping[str, Any], name: str, digest: str, folder: JobFolder) -> list[Container]:
        """Create the network and all containers; where one cannot be, remove what was made."""
        try:
            rootless = self._engine.is_rootless()
            programs = self._programs(body)
            if "network" in body:
                self._engine.create_network(body["network"])
            for container in body["containers"]:
                config = container["config"]
                config["Labels"][DIGEST_LABEL] = digest
                if rootless and "User" in config:
                    config["User"] = "0:0"  # the user who runs the engine, who is the caller
                self._create(container["name"], config)
            made = self._engine.containers(name)
            for one, (image, program, paths) in zip(made, programs, strict=True):
                if not any(self._engine.has_file(one, path) for path in paths):
                    raise missing(image, program)
        except (RefusedError, GoneError):
            self._unmake(name, folder)
            raise
        return made

    def _programs(self, body: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
        """Give the image, the program that each container runs, and where that may be; all images have to be there."""
        names = {one["config"]["Image"] for one in body["containers"]}
        images = {name: self._engine.image(name).get("Config") or {} for name in names}
        programs = []
        for one in body["containers"]:
            image, program = one["config"]["Image"], one["config"]["Entrypoint"][0]
            env = dict(
                entry.partition("=")[::2] for entry in [*(images[image].get("Env") or ()), *one["config"]["Env"]]
            )
            path = env.get("PATH") or _DEFAULT_PATH
            places = [one["config"].get("WorkingDir", "/")] if "/" in program else path.split(":")
            found = [posixpath.join(place, program) for place in places if place]
            programs.append((image, program, found))
        return programs

    def _create(self, name: str, config: Mapping[str, Any]) -> None:
        try:
            self._engine.create(name, config)
        except RefusedError as error:
            there = self._engine.container(name) if error.status == _CONFLICT else None
            if there is None:
                raise
            if there.digest != config["Labels"][DIGEST_LABEL]:
                message = f"the name '{name}' is taken by another container of the Docker engine"
                raise RefusedError(message, status=_CONFLICT) from error

    def _start(self, containers: Sequence[Container], folder: JobFolder) -> None:
        """Start those that never were, unless the job is cancelled; where one cannot be, remove them all."""
        if folder.cancelled() is not None:
            return
        try:
            for container in containers:
                if not container.was_started:
                    self._engine.start(container)
        except (RefusedError, GoneError):
            self._unmake(folder.path.name, folder)
            raise

    def _unmake(self, name: str, folder: JobFolder) -> None:
        folder.forget_secrets()
        for container in self._engine.containers(name):
            self._engine.remove(container, force=True)
        self._remove_networks(name)

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a job up; see `Platform.find`.

        One whose containers were all created, and not all started, is started. One that lacks containers was never
        accepted: what there is of it is removed.
        """
        there = self._engine.containers(name)
        folders = {one.folder for one in there} or {*self._engine.networks(name).values()}
        if not folders:
            return None
        folder = JobFolder(Path(folders.pop()))
        with folder.locked(self._patience.deadline_s):
            there = self._engine.containers(name)
            if not _is_whole(there):
                self._unmake(name, folder)
                return None
            try:
                self._start(there, folder)
            except (RefusedError, GoneError):
                return None
        return Submitted("docker", kind, name, name)

    def look(self, workload: Submitted) -> Seen:
        """Ask how the job stands; see `Platform.look`. Where one container has failed, the others are stopped."""
        try:
            there = self._engine.containers(workload.name)
            found = seen(there, _folder_of(there).cancelled())
            if found.state is JobState.STOPPING:
                self._stop(there)
            elif found.state.is_final:
                self._tidy(workload.name, there)
        except UnreachableError:
            return Seen(JobState.UNREACHABLE)
        return found

    def _stop(self, containers: Sequence[Container]) -> None:
        """Have those that run stopped, once: the engine then does it alone."""
        for container in containers:
            if container.is_live and container.id not in self._stopping:
                self._engine.stop_soon(container, self._grace_s)
                self._stopping.add(container.id)

    def _tidy(self, name: str, containers: Sequence[Container]) -> None:
        """Remove what an ended job does not need: its secrets and its network."""
        if name not in self._tidied:
            _folder_of(containers).forget_secrets()
            self._remove_networks(name)
            self._tidied.add(name)

    def _remove_networks(self, name: str) -> None:
        for identifier in self._engine.networks(name):
            self._engine.remove_network(identifier)

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """List the job's containers; see `Platform.pods`."""
        return tuple(one.name for one in self._engine.containers(workload.name))

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give a container's log until it has ended; see `Platform.log`."""
        return follow(
            partial(self._engine.log, pod, _SILENT_LOG_S), partial(self._look_at, workload, pod), self._patience
        )

    def _look_at(self, workload: Submitted, name: str) -> Seen:
        """Ask how one container stands, so that its log is not read on while others run."""
        try:
            one = self._engine.container(name)
        except UnreachableError:
            return Seen(JobState.UNREACHABLE)
        if one is not None and not one.was_started:
            return self.look(workload)
        return seen([] if one is None else [dataclasses.replace(one, count=1)], None)

    def cancel(self, workload: Submitted) -> None:
        """Stop the job: SIGTERM, and SIGKILL later; its containers and their logs stay. See `Platform.cancel`.

        Raises:
            PlatformError: The engine has not stopped it.
        """
        with _folder_of(self._engine.containers(workload.name)).locked(self._patience.deadline_s):
            there = self._engine.containers(workload.name)
            folder = _folder_of(there)
            going_on = [one.name for one in there if one.is_live or not one.was_started]
            if going_on and folder.cancelled() is None:
                folder.mark_cancelled(going_on)
            self._stopping.difference_update(one.id for one in there)  # asked again where it was without success
            self._stop(there)
        end = self._patience.clock() + self._grace_s + self._patience.stop_s
        while any(one.is_live for one in self._engine.containers(workload.name)):
            if self._patience.clock() > end:
                message = f"the Docker engine has not stopped the job '{workload.name}'"
                raise PlatformError(message, remedy=f"Cancel it again, or: docker kill {' '.join(self.pods(workload))}")
            self._patience.sleep(self._patience.poll_s)
        self._tidy(workload.name, there)

    def read(self, workload: Submitted, name: str) -> bytes | None:
        """Give a small file of the job's folder; see `Platform.read`."""
        folder = next((one.folder for one in self._engine.containers(workload.name) if one.folder), "")
        return read_file(Path(folder, name)) if folder else None

    def remove(self, workload: Submitted) -> None:
        """Remove the job's containers with their logs, its network, and its folder; see `Platform.remove`.

        Raises:
            RefusedError: It has not ended.
            UnreachableError: The engine cannot be asked.
        """
        found = self.look(workload)
        if found.state is JobState.LOST:  # of several containers some may be left
            self._remove(workload.name)
        remove_ended(workload.name, found, lambda: self._remove(workload.name))

    def _remove(self, name: str) -> None:
        there = self._engine.containers(name)
        for container in there:
            self._engine.remove(container)
        self._tidied.discard(name)
        self._tidy(name, there)
        # A label says where: nothing is removed that is not called like the job.
        for folder in {Path(one.folder) for one in there if Path(one.folder).name == name}:
            shutil.rmtree(folder, ignore_errors=True)


def _is_whole(containers: Sequence[Container]) -> bool:
    """Tell whether all containers of a job have been created, if only some are left of those that were started."""
    started = any(one.was_started for one in containers)
    return started or (bool(containers) and len(containers) == containers[0].count)


def _folder_of(containers: Sequence[Container]) -> JobFolder:
    """Give the folder of a job as its containers tell it; one that is nowhere where there are none."""
    return JobFolder(Path(containers[0].folder if containers and containers[0].folder else "/nonexistent"))
