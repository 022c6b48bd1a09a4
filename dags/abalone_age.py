"""Abalone age: files that land start a fair **comparison of algorithms**, each behind a throw-away endpoint.

**When it runs.** When files land under `landing/abalone_age/`. They are watched without a worker, by listing or by a
queue of S3's events; a run claims all that are complete and unknown, each of them once. A folder marker, an empty file
or one that still grows starts nothing, and the log says so. A run by hand waits for what lands next.

**What it trains on.** All that ever landed: later arrivals add up. The quality gate judges the new rows first; two rows
of the real data have height 0, which is told and kept.

**The comparison.** All models learn from one seeded split (70/15/15). Each then answers behind an endpoint of its own,
a process with limits of memory and time: *lease* reserves it, *create* waits until it is healthy or has failed, *ask*
predicts every test row through it, *remove* ends it, whatever became of the others; where a task dies, the lease
runs out. Three predictions are shown, all test rows decide: the difference comes with an interval, what cannot be
told apart is called so, and then the declared tie rule says who wins.

**How it ends.** The winner becomes a version and replaces the one that serves, without a failed request. The run's note
says who won, by how much, and how sure that is.

| outcome | run | what happened |
|---|---|---|
| deployed | green | the winner serves |
| not better than the champion | green | the champion stays |
| failed at the gate, not promoted | red | the rows or the models are not good enough; the note says which rule |
| error | red | an endpoint failed, or something broke; nothing of any endpoint is left |
"""

from stepzero_airflow import use_case
from stepzero_airflow.arrivals import arrivals, await_arrivals
from stepzero_airflow.endpoints import compare_endpoints, divide
from stepzero_airflow.stages import approve, deploy, plan, quality_gate, register, report, train

abalones = use_case("abalone_age")


@abalones.dag(schedule=[arrivals(abalones)])
def abalone_age() -> None:
    """Take landed abalones to the winner of a comparison."""
    batch = await_arrivals(abalones)
    run = plan(abalones, batch)
    checked = quality_gate(run)
    prepared, rendered = divide(run, checked)
    winner = compare_endpoints(run, train(run, prepared))
    served = deploy(run, approve(run, register(run, winner)))
    report(run, rendered, served)


abalone_age()
