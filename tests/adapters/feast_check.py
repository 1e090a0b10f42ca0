"""What Feast answers over our export and our database; run by an interpreter that has Feast.

``python -m tests.adapters.feast_check FOLDER``: reads FOLDER/question.json, writes FOLDER/answer.json.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")  # Feast's own


def main(folder: Path) -> None:
    import pandas as pd
    from feast import FeatureStore

    from alphapulse.adapters.feast_bridge import Row, entities, feature_view, offline_file, push, repo_config

    asked = json.loads((folder / "question.json").read_text())
    features = asked["features"]
    offline_file(Path(asked["parquet"]), folder / "offline.parquet")
    keys = entities()
    view = feature_view(
        asked["set"], asked["version"], features, asked["digest"], folder / "offline.parquet", keys
    )
    store = FeatureStore(config=repo_config(folder, asked["database_url"]))
    store.apply([*keys, view])
    store.apply([*keys, view])  # twice changes nothing
    names = [f"{view.name}:{feature}" for feature in features]
    labels = asked["labels"]
    frame = pd.DataFrame(
        {
            "instrument": [label[0] for label in labels],
            "timeframe": pd.array([label[1] for label in labels], dtype="int32"),
            "event_timestamp": pd.to_datetime([label[2] for label in labels], unit="ns", utc=True),
            "number": range(len(labels)),
        }
    )
    historical = store.get_historical_features(entity_df=frame, features=names).to_df()
    historical = historical.sort_values("number")
    rows = [Row(**row) for row in asked["latest"]]
    push(store, view.name, features, rows)
    push(store, view.name, features, rows)
    pairs = [{"instrument": row.instrument, "timeframe": row.timeframe} for row in rows]
    pairs.append({"instrument": "no:SUCH", "timeframe": 1})
    online = store.get_online_features(features=names, entity_rows=pairs).to_dict()
    store.teardown()

    def plain(values):
        return [None if pd.isna(value) else float(value) for value in values]

    answer = {
        "numbers": [int(number) for number in historical["number"]],
        "historical": [plain(row) for row in historical[features].to_numpy()],
        "online": [[plain([online[f][i]])[0] for f in features] for i in range(len(pairs))],
        "view": view.name,
    }
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
