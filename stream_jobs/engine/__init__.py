"""The partition engine: keyed state over Kafka partitions, exactly once, one Kafka transaction for each checkpoint.

A transaction holds the outputs, the changed state rows, one meta row for each partition, the dead letters and the
source offsets, so that a reader with ``isolation.level=read_committed`` sees all of a checkpoint or nothing of it.
``stream_jobs.engine.job`` is what a job implements; the rooms behind it are

- Kafka: ``source`` (records in), ``transaction`` (records out), ``recovery`` (state back), ``layout`` (what exists),
- state: ``partition`` (one task, and where it has read to),
- time: ``clocks`` (idle partitions, and times too far from the broker's),
- health: ``health`` and ``stages``,

and ``worker`` is the loop over them, ``process`` the frame of the operating system around it.
"""
