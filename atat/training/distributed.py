"""The processes of one training: who starts them, how they meet, what they agree on.

torch's elastic launcher (torchrun) starts them: from the command line, on every node of a cluster,
or from `launch` here, on this machine. They exchange through torch.distributed: gloo on CPUs, nccl
on GPUs. A process that nobody has started for such a purpose is alone, and all here does nothing.
"""

import contextlib
import datetime
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from atat.common import cli
from atat.common.stages import AGAIN
from atat.config.schema import TrainConfig
from atat.training import signals

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
DIED = (
    "a process of the training died (out of memory, killed, or a crash in a C library): the same "
    "command goes on from the last checkpoint"
)
PREPARED = "prepared"  # key of the store
PATIENCE = datetime.timedelta(days=2)  # of those that wait for the first one's preparation
HEARD = "heard of rank "  # keys of the store: a process knows that the preparation failed
COURTESY = datetime.timedelta(seconds=10)  # of the first one, which has the store, for those


class World(NamedTuple):
    """A process's place among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # of this node: its GPU


ALONE = World()


def of_environment() -> World | None:
    """What a launcher (torchrun; srun with these variables) has said; None where none has.

    Raises:
        ValueError: it has said a part only.
    """
    given = [name for name in VARIABLES if name in os.environ]
    if not {"RANK", "WORLD_SIZE"} & set(given):
        return None
    if missing := [name for name in VARIABLES if name not in given]:
        raise ValueError(
            f"environment: got {', '.join(given)} without {', '.join(missing)}; expected all of "
            "them, as torchrun sets them, or neither RANK nor WORLD_SIZE"
        )
    return World(*(int(os.environ[name]) for name in VARIABLES[:3]))


def per_node(train: TrainConfig) -> int:
    """How many processes the settings want on a machine."""
    return max(train.num_gpus, 1) * train.num_processes


def launch(train: TrainConfig, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Run a function in several processes of this machine, as `torchrun --standalone` would.

    Args:
        train: says how many.
        function: of module level; a ValueError or OSError of its is raised here again.
        args: its arguments, which are pickled.

    Raises:
        ChildProcessError: a process has died.
        SystemExit: a signal has come, and the processes have left after it.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if sys.platform == "linux":
        # They talk over the loopback device: this machine's other networks are not asked.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        if (reason := no_loopback()) is not None:
            raise ValueError(
                f"train.num_processes: got {per_node(train)}, which talk over the loopback device, "
                f"and that does not work here ({reason}): `ip link set lo up`, or set it to 1"
            )
    # They say that a process has failed, and that all parameters had a gradient once; we say why.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")  # s, for a checkpoint
    handled = (signal.SIGINT, signal.SIGHUP, *signals.SIGNALS)
    with tempfile.TemporaryDirectory() as place, signals.kept(handled):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=per_node(train),
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=place),
            signals_to_handle=",".join(number.name for number in handled),
        )
        mistake = Path(place) / "mistake"
        try:
            elastic_launch(config, _worker)(function, args, mistake)
        except SignalException as e:
            if e.sigval not in signals.SIGNALS:
                raise KeyboardInterrupt from e
            signals.leave(f"{e.sigval.name}: stopped")
        except ChildFailedError as e:
            _, failure = e.get_first_failure()
            if mistake.is_file():
                number, text = json.loads(mistake.read_text(encoding="utf-8"))
                raise (ValueError(text) if number is None else OSError(number, text)) from e
            if failure.exitcode in (cli.FAILED, AGAIN):  # it has said why
                raise SystemExit(failure.exitcode) from e
            raise ChildProcessError(DIED) from e


def _worker(function: Callable[..., None], args: tuple[Any, ...], mistake: Path) -> None:
    code = None
    try:
        function(*args)
    except SystemExit as e:
        code = e.code
    except (ValueError, OSError) as e:
        number, text = getattr(e, "errno", None), getattr(e, "strerror", None) or str(e)
        mistake.write_text(json.dumps([number, text]), encoding="utf-8")
        code = cli.FAILED
    except Exception:
        traceback.print_exc()
        code = cli.FAILED
    # Not from within: the exception's frames would hold the DataLoader, whose workers are told to
    # end when it goes; they ignore signals, and a process that leaves waits for its children.
    if code is not None:
        raise SystemExit(code)


def no_loopback() -> str | None:
    """Why processes of this machine cannot reach one another; None where they can."""
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
    except OSError as e:
        return e.strerror
    return None


def meet(world: World, num_gpus: int, prepare: Callable[[], str] | None = None) -> str:
    """Join the other processes of a training.

    Args:
        world: this process's place.
        num_gpus: 0: they exchange through gloo; else nccl, and gloo for what is on the CPU.
        prepare: what the first process does before the others go on.

    Returns:
        what `prepare` gave to the first.

    Raises:
        whatever `prepare` does, in the first process; SystemExit in the others then.
    """
    import torch

    store, *_ = next(torch.distributed.rendezvous("env://", world.rank, world.size))
    if world.rank == 0:
        assert prepare is not None
        answer = None
        try:
            answer = prepare()
        finally:
            store.set(PREPARED, json.dumps(answer))
            if answer is None:  # the store ends with this process: the others read it before
                with contextlib.suppress(torch.distributed.DistError):
                    store.wait([f"{HEARD}{i}" for i in range(1, world.size)], COURTESY)
    else:
        try:
            store.wait([PREPARED], PATIENCE)
            answer = json.loads(store.get(PREPARED))
            if answer is None:
                store.set(f"{HEARD}{world.rank}", "")
        except torch.distributed.DistError:  # it was killed, and the store with it
            answer = None
    if answer is None:  # the first one has said why
        raise SystemExit(cli.USAGE)
    if num_gpus:
        torch.cuda.set_device(world.local_rank)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if num_gpus else "gloo",
        store=torch.distributed.PrefixStore("training", store),
        rank=world.rank,
        world_size=world.size,
    )
    return answer


def part() -> None:
    """Leave the other processes, at the end of a training."""
    import torch

    if together():
        torch.distributed.destroy_process_group()


def together() -> bool:
    """Whether other processes have been met."""
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """This process's number among those that have been met; 0 where it is alone."""
    import torch

    return torch.distributed.get_rank() if together() else 0


def largest(*values: float) -> list[float]:
    """The largest of each over all processes; all of them have to ask."""
    return _reduced(values, "MAX")


def total(*values: float) -> list[float]:
    """The sum of each over all processes; all of them have to ask."""
    return _reduced(values, "SUM")


def _reduced(values: tuple[float, ...], operation: str) -> list[float]:
    if not together():
        return list(values)
    import torch

    tensor = torch.tensor(values, dtype=torch.float64)
    torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation))
    return tensor.tolist()


def gathered(thing: Any) -> list[Any]:
    """What each process has, by rank; all of them have to ask."""
    if not together():
        return [thing]
    import torch

    things: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(things, thing)
    return things
