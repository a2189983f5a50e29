"""The spammer, a plain locustfile: exactly N payments, or payments without end, from any number of users and processes.

Here are the parts for Locust: the listeners, in the order of a run, and the class of users.
"""

import logging
import os
import signal
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from spammer import key, metrics, options, page, preparation, run
from spammer.payer import Payer, prepare_users

__all__ = ["Payer"]

NOT_ALL_WELL = 1


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    options.add_to(parser)


@events.init.add_listener
def prepare(environment: Environment, runner: Runner, web_ui: Any = None, **_: Any) -> None:
    """The exit code is 0 only after a good run."""
    logging.getLogger("locust.stats_logger").setLevel(logging.CRITICAL)
    environment.process_exit_code = NOT_ALL_WELL
    # Ctrl-C would interrupt any user, with a traceback. SIGTERM takes its place.
    gevent.signal_handler(signal.SIGINT, os.kill, os.getpid(), signal.SIGTERM)
    if isinstance(runner, MasterRunner):
        runner.register_message(run.TALLY, run.hear)
    given, is_worker = environment.parsed_options, isinstance(runner, WorkerRunner)
    if not is_worker:
        key.bind(environment.host)
    if given is None:
        return
    if given.metrics_port and not is_worker:
        metrics.serve(given.metrics_host, given.metrics_port, run.total, lambda: runner.user_count)
    if web_ui is not None:
        page.protect(web_ui.app, given.web_host)
    if is_worker and given.processes:
        gevent.spawn(run.end_with_master, runner, os.getppid())


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    runner, given = environment.runner, environment.parsed_options
    if runner is None or given is None:
        raise RuntimeError("a run has a runner and options")
    environment.process_exit_code = NOT_ALL_WELL
    if not isinstance(runner, WorkerRunner):
        preparation.set_out(environment, runner, given)
    elif given.bank_names and not key.is_bound():
        key.bind(environment.host)
    prepare_users(environment.host, given)
    run.start(environment, runner, given)


@events.quitting.add_listener
def quitting(environment: Environment, **_: Any) -> None:
    run.stop_endless(environment)


@events.test_stopping.add_listener
def stopping(**_: Any) -> None:
    run.send_no_more()


@events.test_stop.add_listener
def stopped(environment: Environment, **_: Any) -> None:
    run.close(environment)
