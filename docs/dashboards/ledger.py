"""*Ledger and clearing*: whether money is right, whether all commits are posted, and the state of clearing."""

from dashboards.grafana import Json, dashboard, figure, lines, row
from dashboards.queries import mean, quantiles, rate, series
from dashboards.variables import variables

CLOSED = 'state="closed"'


def ledger() -> Json:
    return dashboard(
        "polka-ledger",
        "Polka: Ledger and clearing",
        "Whether money is right: the audit recomputes every balance from the payments, and no batch is set aside. Then "
        "whether what apis commit is posted to the balances as it should, by one cache, mostly every second; where the "
        "clearing windows are; and how the database is.",
        variables(),
        row(
            "Is the money right?",
            figure(
                "The audit finds",
                f"max(max_over_time({series('polka_audit_faults')}[1h])) >= 0",
                "short",
                "The most that an audit of the last hour has found: balances, entries, windows and whatever else does "
                "not follow from the payments. The cache runs it in the background; each run proves what is new, and a "
                "part of what is old.",
                words={"0": "nothing"},
                steps=[(1, "red")],
                nothing="none yet",
                runbooks=["PolkaAuditFailed"],
            ),
            figure(
                "The last audit is of",
                f"time() - max({series('polka_audit_completed_timestamp_seconds')} > 0)",
                "s",
                "How long ago the last audit was completed. What it finds is what was right then.",
                steps=[(600, "orange"), (3600, "red")],
                nothing="none yet",
                runbooks=["PolkaAuditOld"],
            ),
            figure(
                "Set aside",
                f"max({series('polka_set_aside_batches')})",
                "short",
                "Batches that the cache cannot post, whose payments are in no balance. There is never one unless "
                "somebody has altered the database.",
                words={"0": "none"},
                steps=[(1, "red")],
                runbooks=["PolkaBatchSetAside"],
            ),
            figure(
                "Caches that serve",
                f"count by (release) ({series('polka_epoch')} > 0)",
                "short",
                "There is one cache for each Polka; a second takes over. With two, only the one of the higher epoch "
                "can change anything, and the other gives up.",
                steps=[(2, "red")],
                nothing="none",
                runbooks=["PolkaEpochsContending"],
            ),
            figure(
                "Since the last flush",
                f"max({series('polka_flush_age_seconds')})",
                "s",
                "A flush adds what was committed to the balances, once a second. In between, balances with what is "
                "pending are right; while none is done, what is posted grows old.",
                steps=[(10, "orange"), (30, "red")],
                runbooks=["PolkaFlushLagging"],
            ),
            figure(
                "Oldest that is pending",
                f"max({series('polka_pending_oldest_seconds')})",
                "s",
                "The age of the oldest batch that apis have announced and that is not posted. Whose outcome nobody "
                "tells is settled by a tombstone.",
                words={"0": "nothing pending"},
                steps=[(20, "orange"), (60, "red")],
                runbooks=["PolkaPendingTooOld"],
            ),
        ),
        row(
            "From committed to posted",
            lines(
                "Committed and posted",
                [
                    (f"sum({rate('polka_commit_seconds_count')})", "committed by apis"),
                    (f"sum({rate('polka_posted_batches_total')})", "posted by the cache"),
                ],
                "suffix:batches/s",
                "Batches that apis have committed, and batches that flushes have added to the balances. The second "
                "follows the first by a second or two; where it stays below, batches wait. It has settlements and "
                "interest besides.",
                runbooks=["PolkaFlushLagging"],
            ),
            lines(
                "Pending batches",
                [(f"max by (release) ({series('polka_pending_batches')})", "{{release}} pending")],
                "short",
                "Batches that apis have announced and that are not posted yet, as the cache has them in memory.",
                runbooks=["PolkaPendingTooOld"],
            ),
            lines(
                "Waiting times",
                [
                    (f"max by (release) ({series('polka_flush_age_seconds')})", "{{release}} since the last flush"),
                    (f"max by (release) ({series('polka_pending_oldest_seconds')})", "{{release}} oldest pending"),
                ],
                "s",
                "Since the last flush, and the age of the oldest pending batch: a second or two each, when all is "
                "well.",
                steps=[(30, "red")],
                runbooks=["PolkaFlushLagging", "PolkaPendingTooOld"],
            ),
            lines(
                "Time of a flush",
                quantiles("polka_flush_seconds"),
                "s",
                "Within which half, 95 % and 99 % of the transactions of flushes are committed.",
                runbooks=["PolkaFlushLagging"],
            ),
            lines(
                "Batches in one flush",
                [(mean("polka_flush_batches"), "mean")],
                "short",
                "Batches that one transaction of a flush posts, on average.",
            ),
            lines(
                "Announced to the cache",
                [(f"sum by (result) ({rate('polka_balance_batches_total')})", "{{result}}")],
                "suffix:batches/s",
                "Batches that the cache was told of, by what became of them. Those that are known already came late, "
                "or a second time, and count once all the same.",
            ),
            lines(
                "Settled by a tombstone",
                [(f"sum by (state) ({series('polka_tombstones_total')})", "{{state}}")],
                "short",
                "Batches, since the cache's process began, whose api did not tell what became of them, by what the "
                "database says. Empty unless an api was killed, cut off or frozen.",
                runbooks=["PolkaPendingTooOld"],
            ),
            lines(
                "Room under caps",
                [(f"sum by (answer) ({rate('polka_reservations_total')})", "{{answer}}")],
                "suffix:batches/s",
                "Batches of banks with caps for which apis asked the cache to reserve room, by its answer.",
                runbooks=["PolkaCapNear"],
            ),
            lines(
                "Set aside, over time",
                [(f"max by (release) ({series('polka_set_aside_batches')})", "{{release}} set aside")],
                "short",
                "Batches that cannot be posted, over time.",
                steps=[(1, "red")],
                runbooks=["PolkaBatchSetAside"],
            ),
        ),
        row(
            "Clearing",
            figure(
                "The open window is open for",
                f"max by (release) ({series('polka_window_open_seconds')})",
                "s",
                "How long ago the open window was opened. Each payment is in the window that is open when it is "
                "posted.",
                width=12,
            ),
            figure(
                "Windows to be settled",
                f"max by (release) ({series('polka_windows', CLOSED)})",
                "short",
                "Windows that are closed and not settled: their nets are still in the balances.",
                words={"0": "none"},
                steps=[(1, "orange"), (5, "red")],
                width=12,
            ),
            lines(
                "Windows",
                [(f"max by (release, state) ({series('polka_windows')})", "{{release}} {{state}}")],
                "short",
                "Clearing windows by state. One is open at all times.",
                width=12,
            ),
            lines(
                "Windows closed by schedule, and netted",
                [
                    (f"sum(increase({series('polka_scheduled_windows_total')}[1h]))", "closed by schedule"),
                    (f"sum(increase({series('polka_netted_windows_total')}[1h]))", "netting worked out"),
                ],
                "short",
                "In the last hour each: windows that were closed by POLKA_CLEARING_SCHEDULE, and closed windows for "
                "which it was worked out what clearing saves.",
                width=12,
            ),
        ),
        row(
            "The audit",
            lines(
                "Findings",
                [(f"max by (release) ({series('polka_audit_faults')} >= 0)", "{{release}} findings")],
                "short",
                "What the last completed audit had found, over time.",
                steps=[(1, "red")],
                runbooks=["PolkaAuditFailed"],
            ),
            lines(
                "Time of an audit",
                [
                    (
                        f"sum({series('polka_audit_run_seconds_sum')})"
                        f" / (sum({series('polka_audit_run_seconds_count')}) > 0)",
                        "mean",
                    )
                ],
                "s",
                "How long a run takes, with its pauses: the mean of all since the cache's process began.",
                runbooks=["PolkaAuditOld"],
            ),
            lines(
                "Audits that could not run",
                [(f"sum by (reason) ({series('polka_audit_failures_total')})", "{{reason}}")],
                "short",
                "Since the cache's process began, by reason. Empty when all is well.",
                runbooks=["PolkaAuditOld"],
            ),
        ),
        row(
            "The cache",
            lines(
                "Epoch",
                [(f"max by (release, pod, instance) ({series('polka_epoch')})", "{{pod}} {{instance}}")],
                "short",
                "The number of the cache that may change balances. Each start raises it by one; it is 0 while a cache "
                "starts. A step now and then is a restart, many are caches that contend.",
                runbooks=["PolkaEpochsContending"],
            ),
            lines(
                "Starts after a doubt",
                [(f"sum by (reason) ({series('polka_cache_starts_total')})", "{{reason}}")],
                "short",
                "Times, since its process began, that the cache read the ledger again from the database, by reason. It "
                "does so after any doubt: that is safe, and takes moments. Empty when all is well.",
                runbooks=["PolkaEpochsContending"],
            ),
            lines(
                "Idempotency keys forgotten",
                [(f"sum({rate('polka_pruned_idempotency_keys_total')})", "keys")],
                "suffix:keys/s",
                "Keys a second that were dropped because they are older than POLKA_IDEMPOTENCY_KEY_SECONDS, a day by "
                "default. All keys of a generation go at once.",
            ),
        ),
        row(
            "The database",
            figure(
                "Connections in use",
                f"max({series('polka_database_connections')} / {series('polka_database_max_connections')})",
                "percentunit",
                "Connections that Postgres has, of whomever, of those that it takes. At 100 % nobody gets in, and a "
                "cache that starts waits.",
                steps=[(0.7, "orange"), (0.85, "red")],
                runbooks=["PolkaDatabaseConnectionsNearlyUsed"],
                width=12,
            ),
            figure(
                "Size",
                f"max by (release) ({series('polka_database_size_bytes')})",
                "bytes",
                "The size of Polka's database, without the write-ahead log. A payment takes about 800 bytes, with its "
                "indexes.",
                runbooks=["PolkaDatabaseDiskFilling"],
                width=12,
            ),
            lines(
                "Connections",
                [
                    (f"max by (release) ({series('polka_database_connections')})", "{{release}} in use"),
                    (f"max by (release) ({series('polka_database_max_connections')})", "{{release}} at most"),
                ],
                "short",
                "Connections that Postgres has, of whomever, and how many it takes.",
                runbooks=["PolkaDatabaseConnectionsNearlyUsed"],
                width=12,
            ),
            lines(
                "Size over time",
                [(f"max by (release) ({series('polka_database_size_bytes')})", "{{release}} size")],
                "bytes",
                "The size of Polka's database, without the write-ahead log.",
                runbooks=["PolkaDatabaseDiskFilling"],
                width=12,
            ),
        ),
    )
