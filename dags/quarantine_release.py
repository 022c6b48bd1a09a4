"""Let rows out of **quarantine**: as they are, because a person accepts them, or corrected and judged again.

The quality gate sets bad rows aside, each with all its reasons, and lets the others go on. What is wrong with a row is
for a person to say: a true payment of an unusual amount is accepted, a typing error is corrected.

**How.** *Trigger* explains each field. A dry run is the default: its log says how many rows would go, by reason. Then
trigger again with the dry run off and a sentence why; your name and it are kept with the rows.

**As they are.** Name the reasons that you forgive, or single rows by their ids. A row goes only when every one of its
reasons is forgiven.

**Corrected.** `bin/stepzero release BATCH --export rows.csv` writes the rows with their ids. Mend the cells, delete the
lines of rows that should stay, and give the file back: `bin/stepzero release BATCH --corrections rows.csv --why "…"`,
or put it below `corrections/` of the store and name it here. All of them must pass the rules of the gate, or none goes.

**What happens.** Every row goes at most once, however often and by however many it is asked for. Released rows belong
to the partition that they came with: every later run that trains on that batch has them. Runs that are over stay as
they are.
"""

from airflow.sdk import dag

from stepzero_airflow.release import release_form, release_rows


@dag(
    description="Let quarantined rows of an accepted batch go",
    schedule=None,
    catchup=False,
    params=release_form(),
    tags=["stepzero", "quality"],
    default_args={"owner": "data-quality", "retries": 2},
    doc_md=__doc__,
)
def quarantine_release() -> None:
    """Release what the form asks for."""
    release_rows()


quarantine_release()
