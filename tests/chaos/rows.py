"""The table: which trials stand for which point of the list of what the product must survive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos import databases, kills, network
from tests.chaos.children import by_crash, by_equality, by_tests
from tests.chaos.plan import Row

if TYPE_CHECKING:
    from tests.chaos.plan import Plan

_DATABASE: Final = "tests/integration/database"
_ENGINE: Final = "tests/integration/engine"
_INCIDENTS: Final = "tests/unit/incidents"
_ACCOUNTS: Final = "tests/unit/accounts"


def _steps(plan: Plan) -> dict[str, str]:
    """Let the life cycle be walked for longer than in every run of the tests."""
    return {"STILLWATCH_MACHINE_STEPS": "300" if plan.short else "3000"}


TABLE: Final = (
    Row(1, "kill -9 of the workers", by_crash("kills", kinds=("kills",), short=0.1, full=0.6)),
    Row(1, "kill -9 of what stands behind them", kills.run),
    Row(
        1,
        "kill -9 of incidents and learning",
        by_tests(
            "tests/stream_jobs/test_incidents_broker.py::test_kill_9_in_mid_stream_changes_no_alert",
            "tests/stream_jobs/test_label_jobs_broker.py::test_labels_become_versions_once_each_also_after_kill_9",
        ),
    ),
    Row(
        2,
        "redelivery and shuffling",
        by_tests(
            f"{_INCIDENTS}/test_step.py::test_neither_order_redelivery_nor_restart_changes_a_byte",
            f"{_INCIDENTS}/test_links.py::test_the_order_within_a_hop_changes_nothing",
            f"{_ACCOUNTS}/test_accounts_step.py::test_neither_chunks_nor_takes_change_a_result",
            "tests/unit/pools/test_step.py::test_neither_order_nor_block_borders_matter",
            "tests/unit/faust_jobs/test_incidents_job.py::test_redelivered_records_change_nothing",
        ),
    ),
    Row(
        3,
        "rebalances and zombies",
        by_crash("rebalances", "zombies", kinds=("rebalances", "zombies"), short=0.1, full=0.5),
    ),
    Row(
        3,
        "broker restarts and full disks",
        by_crash("brokers", "disks", kinds=("broker_restarts", "disk_full"), short=0.2, full=0.5),
    ),
    Row(4, "poison", by_tests(f"{_ENGINE}/test_product_poison.py", full=[f"{_ENGINE}/test_engine_poison.py"])),
    Row(5, "toxic networks", network.run),
    Row(6, "faults of Postgres", databases.run),
    Row(
        7,
        "restarts and mixed versions",
        by_tests(
            f"{_ACCOUNTS}/test_accounts_step.py::test_a_restart_from_the_changelog_changes_nothing",
            f"{_ENGINE}/test_engine_versions.py",
        ),
    ),
    Row(8, "live equals backtest equals oracle", by_equality(short=(1, 4), full=(2, 6))),
    Row(
        8,
        "the product equals the backtest",
        by_tests("tests/acceptance/test_live_equals_backtest.py"),
        in_short=False,
    ),
    Row(9, "state within its bounds", by_tests(f"{_ACCOUNTS}/test_row_store.py", "tests/unit/pools/test_store.py")),
    Row(
        10,
        "features against an exact reference",
        by_tests(
            f"{_ACCOUNTS}/test_accounts_oracle.py",
            "tests/unit/pools/test_features.py::test_features_agree_with_the_oracle",
        ),
    ),
    Row(
        11,
        "contract and rights of the API",
        by_tests(f"{_DATABASE}/test_api.py::test_every_operation_keeps_its_contract", f"{_DATABASE}/test_guard.py"),
    ),
    Row(12, "life cycle of alerts", by_tests(f"{_DATABASE}/test_lifecycle_machine.py", environment=_steps)),
    Row(
        13,
        "canaries of text",
        by_tests(
            "tests/contracts/test_gateway_privacy.py",
            "tests/unit/gateway/test_canary.py",
            "tests/unit/test_log_privacy.py",
            full=["tests/acceptance/test_privacy.py"],
        ),
    ),
    Row(14, "from an alert to its enforcement", by_tests("tests/integration/test_decision_latency.py")),
    Row(
        15,
        "floods of alerts",
        by_tests(
            f"{_INCIDENTS}/test_step.py::test_the_budget_lets_the_strongest_through_and_the_rest_wait_for_the_next_hour",
            f"{_INCIDENTS}/test_order.py",
            f"{_INCIDENTS}/test_bars.py",
        ),
    ),
)
