"""The only file that imports Ray: a session, actors with names and deadlines, the metrics sink.

Actor classes are plain Python and know nothing of Ray; `Cluster.actor` starts an instance of one in
a process of its own and gives a handle to it. Ray is started on this machine for one run, or a
cluster that runs already is joined by its address.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl.errors import ActorLostError, ConfigError, DeadlineError, PlumblineError, RunError
from rl.plugins import OWN
from rl.runtime import loopback
from rl.runtime.actors import ActorProcess, Pending, first_line
from rl.runtime.dashboard import private_token
from rl.runtime.placement import Placement, Role, RuntimeConfig
from rl.runtime.sigterm import kept_sigterm

_NAME_DEADLINE_S = 20.0
CODE = ("rl", "rewards", "rollouts", "evals", "recipes")


class Cluster:
    """A Ray session. Use as a context: what it started ends with it.

        with Cluster(RuntimeConfig(), namespace="example") as cluster:
            cpus = cluster.resources()["CPU"]
            roles = [Role("learner", count=2), Role("rollout", count=1)]
            cluster.reserve(place(roles, cluster_cpus=cpus, cluster_gpus=0))
            rank = cluster.actor(Rank, "path/to/model", role="learner", place=0)
            rank.ready(deadline_s=600)              # waits for Rank.__init__
            loss = rank.call("step", 1, deadline_s=60)

    Without an address Ray is started here, and it and the actors listen on 127.0.0.1 alone. With
    one, a cluster is joined whose machines reach one another over their network.
    Raises: RunError if Ray does not start here, ConfigError if the address cannot be joined.
    """

    def __init__(self, config: RuntimeConfig, *, namespace: str) -> None:
        self.config = config
        self._handles: list[RayHandle] = []
        self._roles: dict[str, Role] = {}
        self._groups: dict[str, PlacementGroup] = {}
        # `ray job submit` sets RAY_ADDRESS for the program that it runs.
        self.address = config.address or os.environ.get("RAY_ADDRESS")
        self._sink: RaySink | None = None
        self._metrics_port = config.metrics_port or loopback.free_port()
        logging.getLogger("ray").setLevel(logging.ERROR)
        options = {"namespace": namespace, "log_to_driver": False, "logging_level": "ERROR"}
        # Ray's start replaces the handler of SIGTERM by one that ends the process at once.
        try:
            with kept_sigterm():
                if self.address is None:
                    self._context = self._start(options)
                else:
                    self._context = _join(self.address, options)
        except BaseException as error:
            ray.shutdown()  # ends what was started so far
            # Ctrl-C, or our own error from a handler of SIGTERM, is no failure of Ray. All else is,
            # whatever its class: Ray raises a plain Exception too.
            if isinstance(error, PlumblineError) or not isinstance(error, Exception):
                raise
            raise self._not_started(error) from error

    def _not_started(self, error: Exception) -> RunError | ConfigError:
        what, where = f"Ray did not start: {first_line(error)}", "runtime.address: "
        if self.address is None:
            do = "look at the logs in /tmp/ray/session_latest/logs, and run `plumbline doctor`"
            return RunError(what, where=f"{where}local", do=do)
        do = "check the address, or leave it out to start Ray here"
        return ConfigError(what, where=f"{where}{self.address}", do=do)  # a user's mistake

    def _start(self, options: Mapping[str, Any]) -> Any:
        """Starts Ray on this machine, for this run alone."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {
            "address": "local",  # without it Ray joins whatever cluster this machine runs
            "num_cpus": self.config.num_cpus,
            "include_dashboard": self.config.dashboard,
            "dashboard_host": loopback.HOST,
            "dashboard_port": self.config.dashboard_port,
            "object_store_memory": self.config.object_store_mib * 2**20,
            "_metrics_export_port": self._metrics_port,
        }
        present = {key: value for key, value in local.items() if value is not None}
        with (
            loopback.environment(loopback.ray_environment()),
            _without_cluster_ports(),
            private_token(),
        ):
            return ray.init(**options, **present)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the actors, and Ray itself where it was started here."""
        for handle in self._handles:
            handle.stop()
        self._handles.clear()
        for group in self._groups.values():
            with contextlib.suppress(RayError):
                remove_placement_group(group)
        self._groups.clear()
        ray.shutdown()

    @property
    def is_local(self) -> bool:
        """Whether Ray was started here: everything is on this machine then."""
        return self.address is None

    @property
    def dashboard_url(self) -> str | None:
        """The address of the Ray dashboard, None if it is off. Ray asks for a token there."""
        return f"http://{self._context.dashboard_url}" if self._context.dashboard_url else None

    @property
    def metrics_url(self) -> str:
        """The Prometheus endpoint of this node, with Ray's metrics and ours (`ray_plumbline_*`)."""
        if self.address is None:
            return f"http://{loopback.HOST}:{self._metrics_port}/metrics"
        port = next(node["MetricsExportPort"] for node in ray.nodes() if node["Alive"])
        return f"http://127.0.0.1:{port}/metrics"

    def resources(self) -> dict[str, float]:
        """The cluster's totals, e.g. {"CPU": 2.0, "GPU": 0.0}."""
        totals = ray.cluster_resources()
        return {"CPU": float(totals.get("CPU", 0.0)), "GPU": float(totals.get("GPU", 0.0))}

    def reserve(self, placement: Placement) -> None:
        """Makes a placement group for every role. It reserves CPUs and GPUs for the role's actors,
        and for the actors that replace lost ones.

        Raises: DeadlineError, with what is free on each node, if there is no room in time.
        """
        for role in placement.roles:
            self._roles[role.name] = role
            if role.beside is not None:
                continue
            here = [role, *(other for other in placement.roles if other.beside == role.name)]
            amounts = {"CPU": sum(r.cpus or 0.0 for r in here), "GPU": sum(r.gpus for r in here)}
            bundle = {name: amount for name, amount in amounts.items() if amount > 0}
            if not bundle:
                continue
            group = placement_group([bundle] * role.count, strategy=role.strategy, name=role.name)
            self._groups[role.name] = group
            if not group.wait(self.config.place_deadline_s):
                raise DeadlineError(
                    f"no place for {role.count} x {bundle} within {self.config.place_deadline_s:g}"
                    f" s; free on the nodes: {_free_on_nodes()}",
                    where=f"{role.name} actors",
                    expected="as much on single nodes",
                    do=f"lower {role.name}.cpus or {role.name}.gpus, end what else runs there, "
                    "or add a node",
                )

    def rendezvous(self, role: str) -> tuple[str, int]:
        """(address, free port) on the node of a role's first actor, where its process group
        connects."""
        if self.address is None:
            return loopback.HOST, loopback.free_port()
        meet = ray.remote(_own_address).options(num_cpus=0, **self._scheduling(role, 0))
        address, port = _get(meet.remote(), role, "rendezvous", self.config.place_deadline_s)
        return str(address), int(port)

    def actor(
        self,
        kind: type,
        *args: Any,
        role: str,
        place: int,
        env: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> RayHandle:
        """Starts `kind(*args, **kwargs)` as the actor number `place` of a role, where `reserve`
        has kept room for it. Returns at once; `RayHandle.ready` waits for the constructor.

        `env` are environment variables of its process, set before the class's module is imported.
        """
        name = f"{role}-{place}"
        everyone = loopback.actor_environment() if self.is_local else {}
        variables = {str(key): str(value) for key, value in {**everyone, **(env or {})}.items()}
        wrapped = ray.remote(type(kind.__name__, (ActorProcess,), {})).options(
            name=name,
            num_cpus=self._roles[role].cpus or 0.0,
            num_gpus=self._roles[role].gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": variables},
            **self._scheduling(role, place),
        )
        ends = time.monotonic() + _NAME_DEADLINE_S
        while True:
            try:
                remote = wrapped.remote(kind.__module__, kind.__qualname__, args, kwargs)
                break
            except ValueError:  # a lost actor keeps its name for a moment after its end
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)
        handle = RayHandle(name, remote)
        self._handles.append(handle)
        return handle

    def _scheduling(self, role: str, place: int) -> dict[str, Any]:
        group = self._groups.get(self._roles[role].beside or role)
        if group is None:
            return {}
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)
        return {"scheduling_strategy": strategy}

    def metrics_sink(self, tags: Mapping[str, str]) -> RaySink:
        """A sink that exports every metric as the Prometheus gauge `ray_plumbline_<key>` with these
        tags. There is one sink; a later call changes its tags."""
        if self._sink is None:
            self._sink = RaySink()
        self._sink.tags = dict(tags)
        return self._sink


class RayHandle:
    """A named Ray actor. Implements rl.runtime.actors.Handle."""

    def __init__(self, name: str, remote: Any) -> None:
        self.name = name
        self._remote = remote

    def ready(self, deadline_s: float) -> None:
        """Waits until the constructor has returned. Raises: the constructor's error, DeadlineError,
        ActorLostError."""
        _take(self.name, "start", self._remote.started.remote(), deadline_s)

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Pending:
        pickle_own_files_whole()
        return _RayPending(self.name, method, self._remote.run.remote(method, args, kwargs))

    def call(self, method: str, *args: Any, deadline_s: float, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result(deadline_s)

    def is_alive(self, patience_s: float = 1.0) -> bool:
        """Whether the process is alive. One that does not answer for so long may be busy, so it
        counts as alive."""
        ends = time.monotonic() + patience_s
        while True:
            try:
                left = max(0.1, ends - time.monotonic())
                ray.get(self._remote.started.remote(), timeout=left)
            except (
                GetTimeoutError,
                ActorUnavailableError,
            ):  # busy, or Ray is not sure yet that its node is lost
                if time.monotonic() >= ends:
                    return True
                time.sleep(0.1)
            except RayError:
                return False
            else:
                return True

    def stop(self) -> None:
        """Ends the process."""
        with contextlib.suppress(RayError):
            ray.kill(self._remote)


class _RayPending:
    def __init__(self, actor: str, phase: str, reference: Any) -> None:
        self._actor, self._phase, self._reference = actor, phase, reference

    def result(self, deadline_s: float) -> Any:
        return _take(self._actor, self._phase, self._reference, deadline_s)


def _join(address: str, options: Mapping[str, Any]) -> Any:
    """Joins a cluster. Our own code is sent along, so its machines need not have it."""
    here = Path(__file__).resolve().parents[2]
    packages = [str(here / package) for package in CODE]
    return ray.init(address=address, runtime_env={"py_modules": packages}, **options)


def dashboard_token() -> str:
    """The token that the user's Ray asks for, found as Ray finds it: RAY_AUTH_TOKEN,
    RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token. "" if there is none."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    return str(AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True))


@contextlib.contextmanager
def _without_cluster_ports() -> Iterator[None]:
    """Ray reads RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER when it is imported, which the caller may have
    done long ago; the processes that it starts in this block read it for themselves."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def pickle_own_files_whole() -> None:
    """Makes classes of a user's `./file.py` travel with their code, because no other process can
    import that file."""
    for name, module in list(sys.modules.items()):
        if name.startswith(OWN):
            ray.cloudpickle.register_pickle_by_value(module)


class RaySink:
    """Sends metrics to Ray's own exporter."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self._gauges: dict[str, Any] = {}

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        from ray.util.metrics import Gauge

        from rl.runs.metrics import describe

        for key, value in {"step": float(step), **metrics}.items():
            name = "plumbline_" + re.sub(r"[^a-zA-Z0-9]+", "_", key).strip("_")
            if name not in self._gauges:
                self._gauges[name] = Gauge(
                    name, description=describe(key) or key, tag_keys=tuple(self.tags)
                )
            self._gauges[name].set(value, tags=self.tags)

    def close(self) -> None:
        """Gauges live as long as the session."""


def _get(reference: Any, actor: str, phase: str, deadline_s: float) -> Any:
    """Raises: DeadlineError, ActorLostError, RunError."""
    try:
        return ray.get(reference, timeout=deadline_s)
    except GetTimeoutError:
        raise DeadlineError(
            f"no answer within {deadline_s:g} s",
            where=f"{actor} in {phase}",
            do="raise the deadline, or look at the actor's log in the Ray dashboard",
        ) from None
    except RayActorError as error:
        raise ActorLostError(
            f"the actor died: {first_line(error)}",
            where=f"{actor} in {phase}",
            do="look at its log in the Ray dashboard",
        ) from None
    except RayError as error:
        raise RunError(
            first_line(error),
            where=f"{actor} in {phase}",
            do="look at the actor's log in the Ray dashboard",
        ) from None


def _take(actor: str, phase: str, reference: Any, deadline_s: float) -> Any:
    """What an `ActorProcess` returns. Raises: the actor's own error, and what `_get` raises."""
    is_fine, value = _get(reference, actor, phase, deadline_s)
    if is_fine:
        return value
    if isinstance(value, RunError) and value.where and not value.where.startswith(actor):
        value.where = f"{actor} in {phase} ({value.where})"
        value.args = (value.line(),)
    raise value


def _own_address() -> tuple[str, int]:
    return ray.util.get_node_ip_address(), loopback.free_port("")


def _free_on_nodes() -> str:
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node().values()
    return "; ".join(f"{n.get('CPU', 0):g} CPU, {n.get('GPU', 0):g} GPU" for n in free)
