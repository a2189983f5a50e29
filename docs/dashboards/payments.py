"""*Payments*: the rate of payments, the answers to clients, and the distribution of the time."""

from dashboards.grafana import Json, dashboard, figure, lines, row
from dashboards.queries import SERVICES, mean, quantile, quantiles, rate, series
from dashboards.variables import variables

PAYMENT = 'method="POST", route="/transaction"'
FAILED = f'{PAYMENT}, status=~"5.."'
NOT_ACCEPTED = 'outcome!="accepted"'
APIS = 'job="polka-api"'
IN_USE = 'state="in_use"'
PROCESS = "{{pod}} {{instance}}"
"""A process by its pod, if any, and by its address."""
OBJECTIVE_SECONDS = 0.25
"""Within this, 99 of 100 payments are to be answered."""


def payments() -> Json:
    return dashboard(
        "polka-payments",
        "Polka: Payments",
        "How fast payments are recorded, what clients get for an answer and how soon, and where the time goes: in the "
        "queue, in the commit, on the way to the cache, in the processes. Figures are of all apis together unless a "
        "panel says otherwise.",
        variables(),
        row(
            "How fast does it flow?",
            figure(
                "Payments recorded",
                f"sum({rate('polka_commit_payments_sum')})",
                "suffix:/s",
                "Payments, amendments and deletions that were committed, a second, those of bulk requests one by one.",
            ),
            figure(
                "Half are answered within",
                quantile(0.5, "polka_http_request_seconds", where=PAYMENT),
                "s",
                "The median time from the head of a POST /transaction to the start of its answer.",
                steps=[(0.1, "orange"), (OBJECTIVE_SECONDS, "red")],
                nothing="no payments",
                runbooks=["PolkaLatencyBurning"],
            ),
            figure(
                "99 of 100 are answered within",
                quantile(0.99, "polka_http_request_seconds", where=PAYMENT),
                "s",
                "The time within which 99 % of POST /transaction are answered, whatever the answer is. The objective "
                "is 250 ms over 30 days.",
                steps=[(OBJECTIVE_SECONDS, "orange"), (1, "red")],
                nothing="no payments",
                runbooks=["PolkaLatencyBurning"],
            ),
            figure(
                "Failed",
                f"(sum({rate('polka_http_requests_total', FAILED)}) or vector(0))"
                f" / (sum({rate('polka_http_requests_total', PAYMENT)}) > 0)",
                "percentunit",
                "The share of POST /transaction that was answered with a 5xx. A client sends such a payment again with "
                "its key, and it counts once. The objective is 0.1 % over 30 days.",
                steps=[(0.001, "orange"), (0.0144, "red")],
                nothing="no payments",
                runbooks=["PolkaErrorsBurning"],
            ),
            figure(
                "Fullest queue",
                f"max({series('polka_queue_payments')} / {series('polka_queue_max_payments')})",
                "percentunit",
                "What waits for a commit, of what may wait, in the lane of an api that is fullest. At 100 % payments "
                "are refused as overloaded.",
                steps=[(0.5, "orange"), (0.8, "red")],
                runbooks=["PolkaQueueNearlyFull"],
            ),
            figure(
                "Processes that are away",
                f"count({series('up', SERVICES)} == 0) or 0 * count({series('up', SERVICES)})",
                "short",
                "Apis and caches that Prometheus knows of and does not reach.",
                steps=[(1, "red")],
                nothing="none known",
                runbooks=["PolkaTargetDown"],
            ),
        ),
        row(
            "What clients get",
            lines(
                "Requests by what became of them",
                [(f"sum by (operation, outcome) ({rate('polka_operations_total')})", "{{operation}}: {{outcome}}")],
                "reqps",
                "Payments, amendments, deletions and bulk requests, a second. An outcome is accepted, or the code of "
                "the problem that the client was told (docs/problems.md).",
                stacked=True,
                width=12,
            ),
            lines(
                "Time to the answer of a payment",
                quantiles("polka_http_request_seconds", PAYMENT),
                "s",
                "Within which half, 95 % and 99 % of POST /transaction are answered. It is read from buckets, so "
                "between two of their bounds it is an estimate.",
                steps=[(OBJECTIVE_SECONDS, "orange")],
                runbooks=["PolkaLatencyBurning"],
                width=12,
            ),
            lines(
                "Not accepted",
                [
                    (
                        f"sum by (outcome) ({rate('polka_operations_total', NOT_ACCEPTED)}) > 0",
                        "{{outcome}}",
                    )
                ],
                "reqps",
                "Requests that were refused or failed, a second, by the code of the problem (docs/problems.md). "
                "cap_exceeded and bank_suspended are what was agreed with a bank. Empty when all are accepted.",
                runbooks=["PolkaErrorsBurning"],
            ),
            lines(
                "Answers by status",
                [(f"sum by (status) ({rate('polka_http_requests_total', APIS)})", "{{status}}")],
                "reqps",
                "All requests to apis, a second, with those of probes and of Prometheus.",
                stacked=True,
            ),
            lines(
                "99 of 100 within, by route",
                [
                    (
                        quantile(0.99, "polka_http_request_seconds", by="method, route", where=APIS),
                        "{{method}} {{route}}",
                    )
                ],
                "s",
                "The time within which 99 % of the requests to a route of the apis are answered.",
            ),
        ),
        row(
            "From the queue into the database",
            lines(
                "Wait for a commit",
                [
                    (quantile(0.5, "polka_queue_wait_seconds", by="lane"), "{{lane}} p50"),
                    (quantile(0.99, "polka_queue_wait_seconds", by="lane"), "{{lane}} p99"),
                ],
                "s",
                "From a payment's arrival to the start of its commit, within which half and 99 % have waited. Payments "
                "of banks with caps wait in a lane of their own, in which the cache is asked first.",
                runbooks=["PolkaLatencyBurning", "PolkaQueueNearlyFull"],
            ),
            lines(
                "Queues",
                [(f"max by (pod, instance, lane) ({series('polka_queue_payments')})", f"{PROCESS} {{{{lane}}}}")],
                "short",
                "Payments and changes that wait for the next commit, by process and lane.",
                runbooks=["PolkaQueueNearlyFull"],
            ),
            lines(
                "Time of a commit",
                quantiles("polka_commit_seconds"),
                "s",
                "Within which half, 95 % and 99 % of the commits are durable in Postgres.",
                runbooks=["PolkaLatencyBurning"],
            ),
            lines(
                "Commits",
                [(f"sum({rate('polka_commit_seconds_count')})", "commits")],
                "suffix:commits/s",
                "Commits a second. With more load they become larger rather than more.",
            ),
            lines(
                "Payments in one commit",
                [(mean("polka_commit_payments"), "mean")],
                "short",
                "Payments and changes that were committed together, on average.",
            ),
            lines(
                "Commits that failed",
                [(f"sum by (reason) ({series('polka_commit_failures_total')})", "{{reason}}")],
                "short",
                "Since the apis began, by reason. What becomes of their payments is found out before anybody is "
                "answered. Empty when all is well.",
                runbooks=["PolkaErrorsBurning"],
            ),
        ),
        row(
            "Between apis and cache",
            lines(
                "Time of a call to the cache",
                [
                    (quantile(0.5, "polka_balance_post_seconds"), "POST /balance p50"),
                    (quantile(0.99, "polka_balance_post_seconds"), "POST /balance p99"),
                    (quantile(0.5, "polka_reservation_post_seconds"), "reservation p50"),
                    (quantile(0.99, "polka_reservation_post_seconds"), "reservation p99"),
                ],
                "s",
                "How long an api waits for the cache. POST /balance goes beside the commit and holds up no payment; a "
                "reservation comes before the commit of a bank with a cap.",
            ),
            lines(
                "Calls to the cache, by result",
                [
                    (f"sum by (result) ({rate('polka_balance_posts_total')})", "POST /balance: {{result}}"),
                    (f"sum by (result) ({rate('polka_reservation_posts_total')})", "reservation: {{result}}"),
                ],
                "reqps",
                "Calls a second. Others than 200 say that the cache is away or starts.",
                runbooks=["PolkaEpochsContending"],
            ),
            lines(
                "Batches that the cache was never told of",
                [(f"sum({rate('polka_untold_batches_total')})", "batches")],
                "suffix:batches/s",
                "Batches a second of which the message was given up, because the cache was away. They are posted all "
                "the same, and caps hold; only pending balances are less fresh.",
                runbooks=["PolkaEpochsContending"],
            ),
        ),
        row(
            "Processes",
            lines(
                "Lag of the event loop",
                [(quantile(0.99, "polka_event_loop_lag_seconds", by="pod, instance"), PROCESS)],
                "s",
                "How late a timer goes off, at most, in 99 of 100 cases. A process whose loop lags is busy: near one "
                "core it takes no more.",
                steps=[(0.1, "orange")],
                runbooks=["PolkaLatencyBurning"],
            ),
            lines(
                "Cores in use",
                [(f"max by (pod, instance) ({rate('process_cpu_seconds_total', SERVICES)})", PROCESS)],
                "short",
                "Processor time of apis and cache, in cores. Each is one process, which uses one core at most: more "
                "payments want more apis.",
                steps=[(0.9, "orange")],
            ),
            lines(
                "Memory",
                [(f"max by (pod, instance) ({series('process_resident_memory_bytes', SERVICES)})", PROCESS)],
                "bytes",
                "Memory of apis and cache. It does not grow with payments or accounts that are stored.",
            ),
            lines(
                "Connections to Postgres in use",
                [
                    (
                        f"max by (pod, instance, pool) ({series('polka_pool_connections', IN_USE)}"
                        f" / ignoring (state) {series('polka_pool_max_connections')})",
                        f"{PROCESS} {{{{pool}}}}",
                    )
                ],
                "percentunit",
                "Of the connections that each pool of a process may have, those in use. At 100 % whoever needs one "
                "waits.",
                steps=[(0.9, "orange")],
                runbooks=["PolkaDatabaseConnectionsNearlyUsed"],
            ),
            lines(
                "Open files",
                [
                    (
                        f"max by (pod, instance) ({series('process_open_fds', SERVICES)}"
                        f" / {series('process_max_fds', SERVICES)})",
                        PROCESS,
                    )
                ],
                "percentunit",
                "Files and connections that a process has open, of those that it may. At 100 % it takes no more "
                "clients.",
                steps=[(0.8, "orange")],
            ),
            lines(
                "Versions",
                [(f"count by (job, version) ({series('polka_build_info')})", "{{job}} {{version}}")],
                "short",
                "Processes by the version that they run: two while an upgrade rolls out.",
            ),
        ),
        row(
            "The spammer",
            lines(
                "Sent by the spammer",
                [(f"sum by (operation, outcome) ({rate('polka_spam_requests_total')})", "{{operation}}: {{outcome}}")],
                "reqps",
                "What polka spam sends, a second, and what becomes of it, as its clients see it. Empty unless one runs "
                "with --metrics-port and is scraped.",
                stacked=True,
            ),
            lines(
                "Time to the answer, as the spammer sees it",
                [
                    (quantile(0.5, "polka_spam_request_seconds", by="operation"), "{{operation}} p50"),
                    (quantile(0.99, "polka_spam_request_seconds", by="operation"), "{{operation}} p99"),
                ],
                "s",
                "With the way through the network and the waiting in clients: with --rate it counts from the moment at "
                "which a payment was due. What is more than the apis' own time is lost there.",
            ),
            lines(
                "Clients of the spammer",
                [(f"sum({series('polka_spam_users')})", "clients")],
                "short",
                "Clients that pay at the moment.",
            ),
        ),
    )
