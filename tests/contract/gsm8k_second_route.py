"""The answers of our questions in the shape of GSM8K, by another route than their worked solutions.

Each is one expression, written from the question alone and in another order of thought: times are differences of clock
times, equations are solved by search, shares are taken as products. (first words of the question, answer)
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import count


def solve(holds: Callable[[int], bool], start: int = 0) -> int:
    """Find the first whole number that makes an equation true."""
    return next(n for n in count(start) if holds(n))


def minutes(start: str, end: str) -> int:
    (start_hour, start_minute), (end_hour, end_minute) = (map(int, clock.split(":")) for clock in (start, end))
    return (end_hour - start_hour) * 60 + end_minute - start_minute


def snail(depth: int, up: int, down: int) -> int:
    height = 0
    for day in count(1):
        height += up
        if height >= depth:
            return day
        height -= down
    raise AssertionError


TEST = [
    ("A bakery fills 14 trays", sum(18 for _ in range(14)) - 37),
    ("Ilse reads 24 pages", sum(24 if day % 7 < 5 else 40 for day in range(21))),
    ("A rope of 96 meters", 5 + solve(lambda n: 5 * 12 + 4 * n == 96)),
    ("Tomas buys 3 notebooks", Fraction(2000 - 450 * 3 - 175 * 2, 100)),
    ("A water tank holds 540", solve(lambda n: n * 15 - n * 3 >= 540)),
    ("In a school of 480 pupils", Fraction(5, 8) * 480 - 150),
    ("Noor earns $16 an hour", sum(16 if hour < 40 else 24 for hour in range(46))),
    ("A jacket costs $80", Fraction(80) * Fraction(125, 100) * Fraction(70, 100)),
    ("Five friends share", Fraction(34 + 6, 5)),
    ("A farmer has 7 fields", Fraction(45, 20) * 36 * 7),
    ("A train leaves at 9:40", minutes("9:40", "13:05") - 25),
    ("Petra is 4 years older", solve(lambda petra: Fraction(petra - 4, 2) + petra == 31)),
    ("A rectangular garden", (18 + 11 + 18 + 11 - 2) * 9 + 75),
    ("A printer makes 22 pages", sum(0 if 15 <= minute < 19 else 22 for minute in range(39))),
    ("Of 250 eggs", Fraction(96, 100) * 250 / 12),
    ("Kwame saves $35", solve(lambda n: 140 + 35 * n >= 525)),
    ("A recipe for 6 people", Fraction(14, 6) * 450),
    ("The average of four test", solve(lambda n: Fraction(76 + 91 + 79 + n, 4) == 82)),
    ("A theater has 24 rows", 24 * 30 * 14 * Fraction(85, 100)),
    ("Lena walks 3 kilometers", 2 * (3 + 42 + Fraction(3, 2))),
    ("A shop sells pencils", 8 * (55 - 320 // 8)),
    ("Two cyclists start", solve(lambda n: Fraction(15 * n, 60) + Fraction(11 * n, 60) == 91)),
    ("A library lends 120 books", 120 + 3 * (120 - 15)),
    ("Mara has 60 stickers", Fraction(60) * Fraction(2, 3) * Fraction(3, 4)),
    ("A wall of 6 meters", Fraction(6 * 25 * 2, 10 * 10)),
    ("A factory packs 1,260", 1260 * (4 + Fraction(2, 3))),
    ("A phone plan costs $12", Fraction(1200 + 5 * max(0, 380 - 200), 100)),
    ("A box holds red, blue", Fraction(45) / Fraction(3, 10)),
    ("Sven runs 400-meter laps", 400 * 9 + 3 * (400 * 6)),
    ("A candle is 24 centimeters", Fraction(24) - Fraction(3, 2) * 8),
    ("A hotel has 5 floors", Fraction(5 * 22 - 14, 4)),
    ("A sack of 25 kilograms", Fraction(2000, 25) * Fraction(400, 1000)),
    ("Yara has twice as many", 23 + 3 * (23 - 8)),
    ("A ferry carries 40 cars", 30 * 40 * 10 - 30 * 40 * 6),
    ("A gardener plants 9 rows", Fraction(6, 7) * 126),
    ("A car uses 6 liters", Fraction(6, 100) * Fraction(3, 2) * 400),
    ("A class of 28 pupils", solve(lambda n: n + 312 == 28 * 15)),
    ("Two numbers add up to 58", solve(lambda n: n + (n - 12) == 58)),
    ("A swimming pool is 25", sum(25 for _ in range(36)) + 800),
    ("A machine cuts 5 boards", Fraction(5, 8) * 60 * 2),
    ("Ravi buys a used bicycle", Fraction(120, 100) * (90 + 35)),
    ("In a vote, 640 people", solve(lambda n: n + n + 88 == 640)),
    ("A cow gives 26 liters", Fraction(50, 100) * 7 * 18 * 26),
    ("A stairway has 7 flights", 7 * (16 * 17)),
    ("A farmer sells 3 kinds", sum([6] * 20 + [8] * 15 + [10] * (50 - 35))),
    ("A clock loses 4 minutes", Fraction(4, 6) * 24 * 3),
    ("An orchestra has 84", 84 * (1 - Fraction(1, 2) - Fraction(1, 6)) - 10),
    ("Amir types 55 words", 45 * 70 - 45 * 55),
    ("A tablecloth of 2 meters", Fraction(2 * 3) / (Fraction(1, 2) * Fraction(1, 2))),
    ("The population of a village", Fraction(2000) * Fraction(11, 10) ** 2),
    ("Hana gets $5", solve(lambda n: 5 * n - n - 18 >= 50)),
    ("A truck weighs 3,200", 5500 - 3200 - sum([40] * 45)),
    ("A game ends after 7 rounds", 12 * 7 - 2 * 6),
    ("A well is 27 meters", snail(27, 5, 3)),
    ("A bag of 40 sweets", solve(lambda n: 3 * 2 + 4 * n + 6 == 40)),
    ("A courier delivers 18", Fraction(minutes("8:00", "12:30") - 30, 60) * 18),
    ("A square field has an area", 8 * solve(lambda n: n * n == 2500)),
    ("Jonas has some money", solve(lambda n: Fraction(n, 2) - 7 == 11)),
    ("A school buys 4 boxes", Fraction(4 * 24, 12) + Fraction(3 * 40, 12)),
    ("A bus starts with 31", Fraction(2, 3) * (31 - 9 + 14) + 5),
]
TRAIN = [
    ("Vera bakes 5 trays", len(range(5 * 12)[3:])),
    ("A ticket costs $9", sum([9] * 2 + [5] * 4)),
    ("A cistern holds 300", Fraction(1, 3) * 300),
    ("Leo jogs 6 kilometers", sum([6, 6, 6, 6, 10])),
    ("A shirt of $40", Fraction(85, 100) * 40),
    ("84 chairs stand in rows", len(range(0, 84, 7)[2:])),
    ("A film of 2 hours", minutes("19:35", "21:45") - minutes("19:35", "21:00")),
    ("Six bags of soil", Fraction(10, 6) * 72),
]
