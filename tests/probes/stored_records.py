"""What a store holds, in a form that two stores can be compared by."""

from gradlab.store import open_store


def records(path):
    """Everything but times and numbers of rows: (run, step, probe, status, notes), scalars and arrays."""
    found = []
    with open_store(path, readonly=True) as store:
        table = store.scalars()
        runs = {run.id: f"{run.name} {run.algorithm} {run.environment}" for run in store.runs()}
        for info in store.measurements():
            rows = table[table.id == info.id]
            numbers = [
                (n, r, repr(v), repr(s))
                for n, r, v, s in zip(rows.name, rows.reference, rows.value, rows.stderr, strict=True)
            ]
            arrays = [(name, array.values.tobytes()) for name, array in store.arrays(info.id).items()]
            found.append((runs[info.run], info.step, info.probe, info.status, info.notes, sorted(numbers), arrays))
    return sorted(found, key=repr)
