"""Prepares MovieLens 100K (GroupLens, for research; not redistributed here) for the study of this folder.

    python3 prepare_movielens.py FOLDER-OF-ml-100k movielens.csv

The first 29,696 ratings in the order of time: users join in blocks, so that the last rows are of users who were not seen. Two
labels: `liked` (4 or 5 stars) and `loved` (5 stars). A row has the user, the film, the user's age, sex and occupation, the
film's year of release, its genres as flags, and the hour of the day.
"""

import csv
import sys
from pathlib import Path

GENRES = """unknown action adventure animation childrens comedy crime documentary drama fantasy film_noir horror musical mystery romance
sci_fi thriller war western""".split()
ROWS = 29_696


def main(folder, target):
    def read(name, separator):
        with open(Path(folder) / name, encoding="latin-1", newline="") as lines:
            return list(csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE))

    users = {user: {"age": age, "sex": sex, "occupation": job} for user, age, sex, job, _ in read("u.user", "|")}
    films = {film: (date[-4:] or "1995", flags) for film, _, date, _, _, *flags in read("u.item", "|")}
    ratings = sorted(read("u.data", "\t"), key=lambda one: (int(one[3]), int(one[0]), int(one[1])))
    columns = ["user", "film", "age", "sex", "occupation", "year", "hour", *GENRES, "liked", "loved"]
    with open(target, "w", newline="") as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        for user, film, stars, time in ratings[:ROWS]:
            year, flags = films[film]
            row = {"user": user, "film": film, **users[user], "year": int(year) - 1990, "hour": int(time) // 3600 % 24}
            row.update(zip(GENRES, flags))
            writer.writerow({**row, "liked": int(stars >= "4"), "loved": int(stars == "5")})


if __name__ == "__main__":
    main(*sys.argv[1:])
