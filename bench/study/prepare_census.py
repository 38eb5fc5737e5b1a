"""Prepares the test file of UCI's Census-Income (KDD) data set 117 (CC BY 4.0) for the study of this folder.

    python3 prepare_census.py census-income.test.gz census.csv

The first 16,000 whole rows, in the order of age plus N(0, 25) noise: a population that ages while the model trains, as
traffic changes from day to day. A row is whole that has no `?`. Two labels: `income` (above 50,000 dollars) and
`never_married`; marital status and filing status, which tell the second, and the weight of the row are left out.
Python's own random numbers, seed 1: the same rows everywhere. """

import csv
import gzip
import random
import sys

NAMES = """age class_of_worker industry_code occupation_code education wage_per_hour enrolled marital_status industry
occupation race hispanic_origin sex union_member unemployment_reason employment_status capital_gains capital_losses
dividends tax_filer previous_region previous_state household_detail household_summary instance_weight
migration_msa migration_region migration_within same_house_1_year previous_sunbelt employer_persons
family_members_under_18 father_birthplace mother_birthplace self_birthplace citizenship own_business veterans_questionnaire
veterans_benefits weeks_worked year income""".split()
LEFT_OUT = {"marital_status", "tax_filer", "instance_weight"}
ROWS = 16_000


def main(source, target):
    noise = random.Random(1)
    rows = []
    with gzip.open(source, "rt") as lines:
        for fields in csv.reader(lines, skipinitialspace=True):
            if len(fields) != len(NAMES) or "?" in fields:
                continue
            row = dict(zip(NAMES, fields))
            row["never_married"] = int(row["marital_status"] == "Never married")
            row["income"] = int(row["income"].startswith("50000+"))
            rows.append((float(row["age"]) + noise.gauss(0, 25), len(rows), row))
            if len(rows) == ROWS:
                break
    columns = [name for name in NAMES if name not in LEFT_OUT and name != "income"] + ["income", "never_married"]
    with open(target, "w", newline="") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for _, _, row in sorted(rows, key=lambda one: one[:2]):
            writer.writerow(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
