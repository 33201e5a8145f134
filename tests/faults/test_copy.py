"""Optuna's copy on a server that crashes: what it has acknowledged is there afterwards."""

from __future__ import annotations

import optuna
import pytest
from programs import submitted
from server import Server

from lamsearch.store.optuna_study import open_storage


@pytest.mark.postgres
def test_a_trial_that_was_acknowledged_outlives_a_crash_of_the_server(own_server: Server) -> None:
    """A pass notes in our tables what it has shown: a write that got lost in between would never be made up for."""
    store = submitted(own_server.create_database())
    storage = open_storage(store.database, create=False)
    study_id = storage.get_study_id_from_name("s")
    trial_id = storage.create_new_trial(study_id, optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    own_server.crash()
    own_server.start()
    store.database.retrying(lambda: storage.get_study_id_from_name("s"))
    assert trial_id in [trial._trial_id for trial in storage.get_all_trials(study_id)]
    storage.engine.dispose()
    store.close()
