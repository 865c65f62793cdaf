#!/usr/bin/env python3
"""A neural reference: a GRU over each customer's events, refitted every 28 days on all the past.

  gru.py EVENTS LANDMARKS -o FORECASTS.csv.gz [--with BASELINES.csv.gz] [--seed N]

EVENTS and LANDMARKS are the files that `clvd evaluate` takes.  FORECASTS has the columns landmark_id, horizon_days,
expected_value, purchase_probability and model (`gru`); --with copies the rows of another such file into it, so that
one `clvd evaluate --baselines` shows all.

The network sees an event as its type, its amount and the time since the one before; beside the state after the last
event it sees the time since then, counts and money of 7, 30 and 90 days, totals, and the day of the week; the day of
the year once the past is longer than a year.  No input leaves the range that the refit's past had.  Two heads a
horizon: the chance of a purchase, and a log-normal for the money of those who buy (Wang, Liu and Miao 2019, "ZILN").

Nothing is known too early.  A refit at an instant learns only from landmarks whose whole horizon had ended by then.
The latest of these (28 days for each horizon) decide when to stop, and give money the factor that was right on them;
then one epoch at a small rate takes them in.  A refit starts from the weights of the one before.  Means and spreads of the inputs are those of the first refit's past.
"""
import argparse
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch import nn

DAY_MS = 86_400_000.0
REFIT_DAYS = 28.0
WINDOWS = (7.0, 30.0, 90.0)
# A season that was not seen whole is not learned.
SEASON_DAYS = 400.0
SEASON_INPUTS = 4
# A row of the network: this many events; landmarks of its first half only where it is the customer's first row.
ROW = 128


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events")
    parser.add_argument("landmarks")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--with", dest="others", help="forecasts of other models, copied into the output")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--epoch-landmarks", type=int, default=60_000, help="landmarks drawn for one epoch")
    return parser.parse_args()


class Stream:
    """Events by customer and time, with the running sums that landmarks need."""

    def __init__(self, path):
        e = pd.read_csv(path, dtype={"user_id": str, "event_type": str})
        e = e.sort_values("event_time_ms", kind="stable")
        self.names = {name: i for i, name in enumerate(pd.unique(e.user_id))}
        user = e.user_id.map(self.names).to_numpy()
        order = np.argsort(user, kind="stable")
        self.user = user[order]
        self.time = e.event_time_ms.to_numpy(float)[order]
        self.kinds = sorted(e.event_type.unique())
        self.kind = e.event_type.map({k: i for i, k in enumerate(self.kinds)}).to_numpy()[order]
        self.bought = (e.event_type == "purchase").to_numpy()[order]
        self.money = np.where(self.bought, e.amount.fillna(0).to_numpy()[order], 0.0)
        self.first = np.searchsorted(self.user, np.arange(len(self.names)))
        self.begin, self.end = self.time.min(), self.time.max()
        # Customers lie one after the other on one axis, so that one search finds any instant of any customer.
        self.span = self.end - self.begin + 4000 * DAY_MS
        self.key = self.user * self.span + (self.time - self.begin)
        self.purchases = np.r_[0, np.cumsum(self.bought)]
        self.spent = np.r_[0.0, np.cumsum(self.money)]
        index = np.where(self.bought, np.arange(len(user)), -1)
        self.last_purchase = np.r_[-1, np.maximum.accumulate(index)]

    def before(self, user, time):
        """Number of events on the axis up to and with an instant of a customer."""
        offset = np.clip(time - self.begin, -1, self.span - 1)
        return np.searchsorted(self.key, user * self.span + offset, side="right")

    def outcome(self, user, time, days):
        a, b = self.before(user, time), self.before(user, time + days * DAY_MS)
        return self.spent[b] - self.spent[a], self.purchases[b] - self.purchases[a] > 0

    def event_inputs(self):
        new = np.r_[True, self.user[1:] != self.user[:-1]]
        gap = np.where(new, 0, np.diff(self.time, prepend=self.time[0])) / DAY_MS
        columns = [np.log1p(gap), new * 1.0, np.log1p(np.maximum(0, self.money)), (self.money > 0) * 1.0]
        columns += [(self.kind == k) * 1.0 for k in range(len(self.kinds))]
        return np.stack(columns + season(self.time), 1).astype(np.float32)

    def landmark_inputs(self, user, time):
        """What is known of customers at instants, beside the network's state."""
        i, start = self.before(user, time), self.first[user]
        tenure = (time - self.time[start]) / DAY_MS
        idle = (time - self.time[np.maximum(start, i - 1)]) / DAY_MS
        last = self.last_purchase[i]
        has = last >= start
        since = np.where(has, (time - self.time[np.maximum(last, 0)]) / DAY_MS, tenure)
        count, money = self.purchases[i] - self.purchases[start], self.spent[i] - self.spent[start]
        mean = money / np.maximum(1, count)
        columns = [np.log1p(np.maximum(0, idle)), np.log1p(tenure), np.log1p(np.maximum(0, since)), has * 1.0,
                   np.log1p(count), np.log1p(np.maximum(0, money)), np.log1p(np.maximum(0, mean)), np.log1p(i - start),
                   np.log1p(30 * count / (tenure + 14)), since / (tenure / np.maximum(1, count) + 7)]
        columns[-1] = np.log1p(columns[-1])
        for days in WINDOWS:
            j = np.maximum(start, self.before(user, time - days * DAY_MS))
            columns += [np.log1p(i - j), np.log1p(self.purchases[i] - self.purchases[j]),
                        np.log1p(np.maximum(0, self.spent[i] - self.spent[j]))]
        return np.stack(columns + season(time), 1).astype(np.float32)

    def rows(self, user, time):
        """First event of the row and place in it of the state that each landmark sees."""
        start = self.first[user]
        place = self.before(user, time) - 1 - start
        row = np.maximum(0, (place - ROW // 2) // (ROW // 2)) * (ROW // 2)
        return start + row, place - row


def season(time):
    year = time / DAY_MS / 365.2425 * 2 * np.pi
    week = time / DAY_MS / 7 * 2 * np.pi
    return [np.sin(week), np.cos(week), np.sin(year), np.cos(year), np.sin(2 * year), np.cos(2 * year)]


class Landmarks:
    def __init__(self, stream, user, time, horizons):
        self.user, self.time = user, time
        self.inputs = stream.landmark_inputs(user, time)
        self.row, self.place = stream.rows(user, time)
        outcomes = [stream.outcome(user, time, h) for h in horizons]
        self.money = np.stack([o[0] for o in outcomes], 1)
        self.buys = np.stack([o[1] for o in outcomes], 1)


def training_landmarks(stream, horizons, seed):
    """Every customer once a step over the whole stream, and half as many at events."""
    rng = np.random.default_rng(seed)
    step = max(7.0, (stream.end - stream.begin) / DAY_MS / 80) * DAY_MS
    user, time = [], []
    for u, first in enumerate(stream.first):
        t = np.arange(stream.time[first] + rng.uniform(0, step), stream.end, step)
        user.append(np.full(len(t), u))
        time.append(t)
    user, time = np.concatenate(user), np.concatenate(time)
    at = rng.choice(len(stream.time), min(len(stream.time), len(user) // 2 + 1), replace=False)
    return Landmarks(stream, np.r_[user, stream.user[at]], np.r_[time, stream.time[at]], horizons)


class Network(nn.Module):
    def __init__(self, events, landmarks, horizons, hidden, dropout):
        super().__init__()
        self.gru = nn.GRU(events, hidden, batch_first=True)
        self.trunk = nn.Sequential(nn.Linear(hidden + landmarks, hidden), nn.SiLU(), nn.Dropout(dropout),
                                   nn.Linear(hidden, hidden), nn.SiLU(), nn.Dropout(dropout))
        self.heads = nn.Linear(hidden, 3 * horizons)
        self.drop = nn.Dropout(dropout)

    def forward(self, events, row, place, inputs):
        states, _ = self.gru(events)
        x = torch.cat([self.drop(states[row, place]), inputs], 1)
        logit, mean, spread = self.heads(self.trunk(x)).chunk(3, 1)
        return logit, mean, nn.functional.softplus(spread) + 0.05


class Reference:
    def __init__(self, a, stream, train, targets, horizons):
        self.a, self.stream, self.train, self.targets, self.horizons = a, stream, train, targets, horizons
        self.days = np.array(horizons) * DAY_MS
        self.rng = np.random.default_rng(a.seed)
        self.events = stream.event_inputs()
        self.network = None

    def standardise(self, cut):
        """Inputs and money in units of what was known at the first refit."""
        def scale(x, past):
            mean, spread = x[past].mean(0), x[past].std(0)
            return np.clip((x - mean) / np.where(spread > 1e-6, spread, 1), -6, 6).astype(np.float32)

        past = self.train.time < cut
        targets, inputs = self.targets.inputs, self.train.inputs
        both = scale(np.concatenate([inputs, targets]), np.r_[past, np.zeros(len(targets), bool)])
        self.train.inputs, self.targets.inputs = both[: len(inputs)], both[len(inputs):]
        self.events = torch.from_numpy(scale(self.events, self.stream.time < cut))
        money = np.log(self.stream.money[(self.stream.time < cut) & (self.stream.money > 0)])
        self.log_mean, self.log_spread = money.mean(), max(0.1, money.std())

    def bound(self, cut):
        """Inputs stay within what has been seen up to an instant."""
        def ends(x):
            low, high = x.min(0), x.max(0)
            if cut - self.stream.begin < SEASON_DAYS * DAY_MS:
                low[-SEASON_INPUTS:], high[-SEASON_INPUTS:] = 0, 0
            return torch.from_numpy(low), torch.from_numpy(high)

        self.least, self.most = ends(self.train.inputs[self.train.time < cut - self.days.min()])
        self.least_event, self.most_event = ends(self.events.numpy()[self.stream.time < cut])

    def batches(self, landmarks, chosen, rows_a_batch):
        """Chosen landmarks by rows of events, rows of like length together."""
        rows, inverse = np.unique(landmarks.row[chosen], return_inverse=True)
        length = np.zeros(len(rows), int)
        np.maximum.at(length, inverse, landmarks.place[chosen] + 1)
        order = np.lexsort((self.rng.random(len(rows)), length))
        groups = [order[i:i + rows_a_batch] for i in range(0, len(order), rows_a_batch)]
        by_row = np.argsort(inverse, kind="stable")
        edges = np.r_[0, np.cumsum(np.bincount(inverse, minlength=len(rows)))]
        for g in self.rng.permutation(len(groups)):
            group = groups[g]
            longest = length[group].max()
            # What lies past the last landmark's event belongs to others; no state that is read has seen it.
            index = np.minimum(rows[group][:, None] + np.arange(longest), len(self.events) - 1)
            pick = np.concatenate([by_row[edges[r]:edges[r + 1]] for r in group])
            inside = np.repeat(np.arange(len(group)), edges[group + 1] - edges[group])
            at = chosen[pick]
            inputs = torch.from_numpy(landmarks.inputs[at]).clamp(self.least, self.most)
            yield at, (self.events[torch.from_numpy(index)].clamp(self.least_event, self.most_event),
                       torch.from_numpy(inside), torch.from_numpy(landmarks.place[at]), inputs)

    def loss(self, outputs, at, known):
        """Per head the mean negative log-likelihood over the landmarks that are known."""
        logit, mean, spread = outputs
        buys = torch.from_numpy(self.train.buys[at]).float()
        raw = self.train.money[at]
        paid = torch.from_numpy(raw > 0) & known
        money = torch.from_numpy(((np.log(np.maximum(raw, 1e-9)) - self.log_mean) / self.log_spread)).float()
        chance = nn.functional.binary_cross_entropy_with_logits(logit, buys, reduction="none")
        amount = torch.log(spread) + 0.5 * ((money - mean) / spread) ** 2
        return (chance * known + torch.where(paid, amount, torch.zeros(()))).sum(0)

    def epoch(self, chosen, mask, optimiser):
        self.network.train()
        size = int(np.clip(len(chosen) // 400, 16, 256))
        for at, batch in self.batches(self.train, chosen, size):
            known = torch.from_numpy(mask[at])
            loss = (self.loss(self.network(*batch), at, known) / known.sum(0).clamp(min=1)).sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()

    @torch.no_grad()
    def judge(self, chosen, mask):
        """Mean loss of the held-out part, and expected over actual money by horizon."""
        self.network.eval()
        total, n = torch.zeros(len(self.days)), np.zeros(len(self.days))
        said, spent = np.zeros(len(self.days)), np.zeros(len(self.days))
        for at, batch in self.batches(self.train, chosen, 512):
            outputs = self.network(*batch)
            known = torch.from_numpy(mask[at])
            total += self.loss(outputs, at, known)
            n += mask[at].sum(0)
            said += (self.expected(outputs)[1] * mask[at]).sum(0)
            spent += (self.train.money[at] * mask[at]).sum(0)
        return float((total.numpy() / np.maximum(1, n)).sum()), said, spent

    def expected(self, outputs):
        logit, mean, spread = (x.double().numpy() for x in outputs)
        chance = 1 / (1 + np.exp(-logit))
        spread = np.minimum(spread * self.log_spread, 2.5)
        return chance, chance * np.exp(np.clip(self.log_mean + self.log_spread * mean + spread ** 2 / 2, -20, 20))

    def choose(self, mask, most):
        chosen = np.flatnonzero(mask.any(1))
        return self.rng.choice(chosen, most, replace=False) if len(chosen) > most else chosen

    def refit(self, cut):
        """Learns from what has matured by an instant; returns epochs, and the factor on money by horizon."""
        age = cut - self.train.time[:, None] - self.days
        held = (age >= 0) & (age < REFIT_DAYS * DAY_MS)
        learned = age >= REFIT_DAYS * DAY_MS
        # Little has matured at the first refits: then a part of the customers stops the training.
        if learned.sum() < 4 * held.sum() or (self.train.buys & learned).any(1).sum() < 50:
            part = (self.train.user * 2654435761 % 1000 < 150)[:, None]
            held, learned = (age >= 0) & part, (age >= 0) & ~part
        self.bound(cut)
        warm = self.network is not None
        if not warm:
            torch.manual_seed(self.a.seed)
            self.network = Network(self.events.shape[1], self.train.inputs.shape[1], len(self.days), self.a.hidden,
                                   self.a.dropout)
        rate = self.a.rate * (0.5 if warm else 1)
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=0.02)
        check = self.choose(held, 30_000)
        best, _, _ = self.judge(check, held)
        kept, bad, epochs = self.copy(), 0, 0
        while bad < (3 if warm else 4) and epochs < (12 if warm else 40):
            self.epoch(self.choose(learned, self.a.epoch_landmarks), learned, optimiser)
            epochs += 1
            now, _, _ = self.judge(check, held)
            if now < best - 1e-4:
                best, kept, bad = now, self.copy(), 0
            else:
                bad += 1
                for group in optimiser.param_groups:
                    group["lr"] *= 0.5
        self.network.load_state_dict(kept)
        _, said, spent = self.judge(check, held)
        factor = np.clip((spent + 1e-9) / (said + 1e-9), 0.5, 2)
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate * 0.25, weight_decay=0.02)
        self.epoch(self.choose(held | learned, self.a.epoch_landmarks), held | learned, optimiser)
        return epochs, factor

    def copy(self):
        return {k: v.clone() for k, v in self.network.state_dict().items()}

    @torch.no_grad()
    def forecast(self, chosen, factor):
        self.network.eval()
        chance, money = np.zeros((len(chosen), len(self.days))), np.zeros((len(chosen), len(self.days)))
        place = np.empty(len(self.targets.time), int)
        place[chosen] = np.arange(len(chosen))
        for at, batch in self.batches(self.targets, chosen, 512):
            chance[place[at]], money[place[at]] = self.expected(self.network(*batch))
        return chance, money * factor


def main():
    a = parse()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    stream = Stream(a.events)
    asked = pd.read_csv(a.landmarks, dtype={"user_id": str})
    horizons = [float(h) for h in asked.horizons.iloc[0].split("|")]
    unknown = ~asked.user_id.isin(stream.names)
    if unknown.any():
        sys.exit(f"{a.landmarks}: {int(unknown.sum())} landmarks of customers who have no event")
    targets = Landmarks(stream, asked.user_id.map(stream.names).to_numpy(), asked.time_ms.to_numpy(float), horizons)
    if (targets.place < 0).any():
        sys.exit(f"{a.landmarks}: {int((targets.place < 0).sum())} landmarks before the customer's first event")
    reference = Reference(a, stream, training_landmarks(stream, horizons, a.seed), targets, horizons)
    cut = targets.time.min()
    reference.standardise(cut)
    chance, money = np.zeros((len(asked), len(horizons))), np.zeros((len(asked), len(horizons)))
    start = time.time()
    while cut <= targets.time.max():
        chosen = np.flatnonzero((targets.time >= cut) & (targets.time < cut + REFIT_DAYS * DAY_MS))
        if len(chosen):
            epochs, factor = reference.refit(cut)
            chance[chosen], money[chosen] = reference.forecast(chosen, factor)
            day = (cut - stream.begin) / DAY_MS
            print(f"day {day:.0f}: {epochs} epochs, factor on money {np.round(factor, 4)}, {len(chosen)} landmarks, "
                  f"{time.time() - start:.0f} s", file=sys.stderr, flush=True)
        cut += REFIT_DAYS * DAY_MS
    parts = [pd.DataFrame({"landmark_id": asked.landmark_id, "horizon_days": h,
                           "expected_value": money[:, i].round(4), "purchase_probability": chance[:, i].round(6),
                           "model": "gru"}) for i, h in enumerate(horizons)]
    if a.others:
        parts.append(pd.read_csv(a.others))
    pd.concat(parts).to_csv(a.output, index=False)


if __name__ == "__main__":
    main()
