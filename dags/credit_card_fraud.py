"""From a landed file of card payments to a served model; nothing starts before the rows passed the **quality gate**.

**When it runs.** Every night at 02:00 UTC, for the day that ends then. A scheduled run waits up to 22 hours for a file
under `landing/credit_card_fraud/`; a day without one is skipped, not failed. It takes all files that no run has judged.

**What it trains on.** A run gates its own batch and trains on the *window*: the newest 30 accepted batches, its own
included; a day alone holds too few frauds. What failed the gate is never part of one, nor judged again unless named.

**By hand.** *Trigger* explains each field; left alone, the form changes nothing. Without a batch named, all files that
no run has judged are taken, or else the batch accepted last: then nothing is new and every stage is reused.

**How it ends**, as the run's note says:

| outcome | run | what happened |
|---|---|---|
| deployed | green | the new version serves |
| not better than the champion | green | the champion stays |
| rejected, superseded | green | a person said no, or not in time; or a newer version came |
| nothing landed | green | no file came |
| failed at the gate or after preparation, not promoted | red | rows, model or predictions broke a rule: see the note |
| error | red | something broke; clear the failed task once it is mended, what is done is not done again |

A batch unlike the champion's training rows is told and stops nothing: a new model is the cure. Up to four runs may be
active, so that one that waits for approval does not keep a newer one from superseding it.
"""

from airflow.sdk import TaskGroup

from stepzero_airflow import daily, use_case
from stepzero_airflow.stages import (
    approve,
    await_batch,
    batch_skew,
    check_predictions,
    deploy,
    explore,
    plan,
    prepare,
    quality_gate,
    register,
    report,
    train,
)

fraud = use_case("credit_card_fraud")


@fraud.dag(schedule=daily("02:00"))
def credit_card_fraud() -> None:
    """Take a landed batch to a served champion."""
    run = plan(fraud, await_batch(fraud))
    checked = quality_gate(run)
    prepared = prepare(run, checked)
    with TaskGroup("look", prefix_group_id=False, tooltip="Pictures of the rows; the batch beside the champion's rows"):
        looked = [explore(run, prepared), batch_skew(run, checked)]
    version = register(run, model := train(run, prepared), after=[check_predictions(run, model)])
    report(run, *looked, deploy(run, approve(run, version)))


credit_card_fraud()
