"""The peer: what a competent user writes without lamsearch, to find λ for the same network on the same images.

Plain Optuna (TPE, MedianPruner over folds), k-fold cross-validation inside the objective, torch's DataLoader,
NCHW, Adam, the penalty added to the loss, two threads. It knows nothing of lamsearch.

    python -m tests.benchmarks.peer DATA.npz --trials 50 --folds 5 --epochs 10 --seed 0
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import optuna
import torch
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LOW, HIGH = 1e-6, 3e-2


def network(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    channels, rows, columns = shape
    rows, columns = ((rows - 2) // 2 - 2) // 2, ((columns - 2) // 2 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * rows * columns, 128),
        nn.ReLU(),
        nn.Linear(128, n_classes),
    )


def train(x: torch.Tensor, y: torch.Tensor, lam_over_m: float, epochs: int, batch: int) -> nn.Module:
    model = network(tuple(x.shape[1:]), int(y.max()) + 1)
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True)
    model.train()
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            penalty = sum(w.pow(2).sum() for w in weights)
            loss = criterion(model(images), labels) + lam_over_m / 2 * penalty
            loss.backward()
            optimizer.step()
    return model


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in DataLoader(TensorDataset(x, y), batch_size=256):
            correct += int((model(images).argmax(1) == labels).sum())
    return correct / len(y)


def search(x: torch.Tensor, y: torch.Tensor, *, trials: int, folds: int, epochs: int, batch: int, seed: int) -> dict:
    """Run the study; the best λ/m, its CV accuracy, fold fits done."""
    fold_fits = 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal fold_fits
        lam_over_m = trial.suggest_float("lam_over_m", LOW, HIGH, log=True)
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        scores = []
        for fold, (train_idx, val_idx) in enumerate(splitter.split(np.zeros(len(y)), y.numpy())):
            model = train(x[train_idx], y[train_idx], lam_over_m, epochs, batch)
            scores.append(accuracy(model, x[val_idx], y[val_idx]))
            fold_fits += 1
            trial.report(float(np.mean(scores)), fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    sampler, pruner = optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    begun = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return {
        "search_s": time.perf_counter() - begun,
        "lam_over_m": study.best_params["lam_over_m"],
        "cv": study.best_value,
        "fold_fits": fold_fits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fits", type=int, default=0, help="only time so many fold fits")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    with np.load(options.data) as file:
        x, y, x_test, y_test = (torch.from_numpy(file[key]) for key in ("x", "y", "x_test", "y_test"))
    if options.fits:
        seconds = time_fits(x, y, options)
        print(json.dumps({"seconds": seconds}))
        return
    begun = time.perf_counter()
    sizes = {"trials": options.trials, "folds": options.folds, "epochs": options.epochs, "batch": options.batch}
    found = search(x, y, **sizes, seed=options.seed)
    model = train(x, y, found["lam_over_m"], options.epochs, options.batch)
    found |= {"test_acc": accuracy(model, x_test, y_test), "seconds": time.perf_counter() - begun}
    print(json.dumps(found))


def time_fits(x: torch.Tensor, y: torch.Tensor, options: argparse.Namespace) -> list[float]:
    """Seconds of each of some fold fits, validation included, after a warm-up."""
    splitter = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    train_idx, val_idx = next(iter(splitter.split(np.zeros(len(y)), y.numpy())))
    train(x[train_idx], y[train_idx], 1e-3, options.epochs, options.batch)
    seconds = []
    for _ in range(options.fits):
        begun = time.perf_counter()
        model = train(x[train_idx], y[train_idx], 1e-3, options.epochs, options.batch)
        accuracy(model, x[val_idx], y[val_idx])
        seconds.append(time.perf_counter() - begun)
    return seconds


if __name__ == "__main__":
    main()
