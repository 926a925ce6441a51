"""The closed table of log events: what can stand under ``event`` in a line of ours, and what it means.

A test compares it with every call in the code; the docs are made from it.
"""

from __future__ import annotations

from typing import Final

LOG_EVENTS: Final[dict[str, str]] = {
    "alert.raised": "A revision of an alert was sent.",
    "alert.unreadable": "A record of the alerts topic is no alert; labels of it cannot be learned from.",
    "api.database_failed": "A request ended because the database did not answer; the caller was told 503.",
    "api.failed": "A request ended by a bug; the caller was told 500.",
    "broker.waits": "The broker does not answer yet; the job asks again.",
    "checkpoint.again": "A transaction failed before its commit and is sent again, unchanged.",
    "checkpoint.done": "The unit of work of the engine's jobs: outputs, rows and offsets are committed.",
    "clocks.unknown": "The other workers' partition clocks could not be read; silent partitions wait.",
    "console.csp_report": "A browser refused something on a page of ours; the content policy or the page is wrong.",
    "consumer.waits": "The client library speaks of its connection; it goes on by itself.",
    "database.retry": "A transient database error; the same work is tried again after a wait.",
    "entitlement.unreadable": "A record of the entitlements topic is no entitlement, and is not in force.",
    "heartbeat.failed": "A control record of a silent partition was not delivered; the next one will do.",
    "heartbeat.sent": "A silent partition was told how far event time has come.",
    "job.opened": "A Faust job has read its state and begins.",
    "label.decided": "A label became decisions.",
    "model.published": "A version of a model was published, in shadow.",
    "model.rebuilt_short": "Labels outlived their alerts, so the rebuilt model has learned less.",
    "partitions.assigned": "Partitions came, with their state.",
    "partitions.revoked": "Partitions went, after a checkpoint.",
    "partitions.turned": "The sink's assignment changed; what was not stored yet will come again.",
    "process.ended_hard": "A stop took too long, and the process ended itself.",
    "process.started": "The process serves its metrics and begins.",
    "process.stopped": "The process has finished in good order.",
    "process.stopping": "A signal asked for the end.",
    "recovery.progress": "How much of the state is loaded.",
    "recovery.waits": "The broker does not give the state yet; it is asked again.",
    "relay.deaf": "The database cannot wake the relay for now; it looks by itself.",
    "relay.purged": "Old rows of the outbox that were sent are gone.",
    "relay.sent": "Rows of the outbox are on their topics.",
    "relay.stopped_while_waiting": "The end came while the relay waited for the database.",
    "sink.batch_refused": "The database refused a batch; its records are stored one by one to find the bad one.",
    "sink.commit_deferred": "Offsets could not be committed; the next commit covers them.",
    "sink.consumer_waits": "The client library speaks of its connection; it goes on by itself.",
    "sink.revision_differs": "A known revision came with other bytes: a bug upstream. The first one stands.",
    "sink.stopped_while_waiting": "The end came while the sink waited for the database.",
    "sink.stored": "The unit of work of the sink: a batch of revisions is in the database.",
    "state.saved": "The incidents job's state is on its topic.",
    "transaction.waits": "The transaction's coordinator does not answer yet.",
    "worker.crashed": "A bug ended the worker; the supervisor starts it again.",
    "worker.draining": "The worker makes its last checkpoint.",
    "worker.failed": "The worker ended for a reason that a person can act on.",
    "worker.started": "An engine worker serves its metrics and joins its group.",
    "worker.stopped": "The worker has left its group.",
}
