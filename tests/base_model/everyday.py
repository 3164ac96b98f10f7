"""A few everyday kinds of document with their fields: (names, ((key, kinds of value, sentences, questions), ...))."""

Row = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

EVERYDAY_DOMAINS: tuple[tuple[tuple[str, ...], tuple[Row, ...]], ...] = (
    (
        ("Weather Report", "Forecast"),
        (
            (
                "high temperature",
                ("quantity",),
                ("The day peaks at {0}", "It warms up to {0}"),
                ("How warm will it get?",),
            ),
            (
                "wind",
                ("quantity", "place"),
                ("Winds blow at {0} near {1}", "Near {1} gusts reach {0}"),
                ("How strong is the wind?",),
            ),
            (
                "chance of rain",
                ("percent",),
                ("Rain is {0} likely", "The chance of rain is {0}"),
                ("How likely is rain?",),
            ),
            ("sunrise", ("clock",), ("The sun rises at {0}", "Daylight begins at {0}"), ("When does the sun rise?",)),
            (
                "storm",
                ("duration",),
                ("The storm lasts {0}", "A storm stays for {0}"),
                ("How long does the storm last?",),
            ),
        ),
    ),
    (
        ("Recipe", "Kitchen Card"),
        (
            (
                "baking",
                ("duration", "quantity"),
                ("Bake it for {0} at {1}", "Keep it at {1} for {0}"),
                ("How is it baked?",),
            ),
            ("flour", ("quantity",), ("Mix in {0} of flour", "You need {0} of flour"), ("How much flour is needed?",)),
            (
                "topping",
                ("thing", "thing"),
                ("Finish it with {0} and {1}", "Put {0} and {1} on top"),
                ("What goes on top?",),
            ),
            (
                "cook",
                ("person",),
                ("{0} shared this recipe", "The dish was made up by {0}"),
                ("Who shared the recipe?",),
            ),
        ),
    ),
    (
        ("Match Report", "Game Summary"),
        (
            (
                "final score",
                ("code", "date"),
                ("The match on {1} ended {0}", "It ended {0} on {1}"),
                ("How did the match end?",),
            ),
            (
                "top scorer",
                ("person", "count"),
                ("{0} scored {1} goals", "With {1} goals {0} led the team"),
                ("Who scored goals?",),
            ),
            (
                "attendance",
                ("count", "place"),
                ("A crowd of {0} watched in {1}", "In {1} there were {0} guests"),
                ("How many watched?",),
            ),
            (
                "referee",
                ("person",),
                ("{0} was the referee", "The whistle was blown by {0}"),
                ("Who was the referee?",),
            ),
        ),
    ),
    (
        ("Travel Booking", "Itinerary"),
        (
            (
                "departure",
                ("date", "clock"),
                ("The train leaves on {0} at {1}", "Departure is at {1} on {0}"),
                ("When does the train leave?",),
            ),
            (
                "hotel",
                ("company", "duration"),
                ("Guests stay at {0} for {1}", "For {1} rooms are kept at {0}"),
                ("Where do guests stay?",),
            ),
            (
                "fare",
                ("money", "person"),
                ("{1} paid {0} for the seat", "The seat costs {1} {0}"),
                ("How much was the seat?",),
            ),
            ("destination", ("place",), ("The trip goes to {0}", "All travel to {0}"), ("Where does the trip go?",)),
        ),
    ),
    (
        ("Lab Note", "Test Log"),
        (
            (
                "sample weight",
                ("code", "quantity"),
                ("Sample {0} weighs {1}", "The scale shows {1} for sample {0}"),
                ("How heavy is the sample?",),
            ),
            (
                "technician",
                ("person", "date"),
                ("{0} ran the test on {1}", "On {1} the test was run by {0}"),
                ("Who ran the test?",),
            ),
            ("purity", ("percent",), ("The purity reached {0}", "It is {0} pure"), ("How pure is it?",)),
            (
                "reaction",
                ("duration",),
                ("The reaction took {0}", "After {0} the mixture settled"),
                ("How long was the reaction?",),
            ),
        ),
    ),
    (
        ("Vacancy", "Job Notice"),
        (
            (
                "salary",
                ("money", "company"),
                ("{1} pays {0} a year", "The pay at {1} is {0}"),
                ("How much is the pay?",),
            ),
            ("start", ("date",), ("Work begins on {0}", "The new colleague starts on {0}"), ("When does work begin?",)),
            (
                "vacation",
                ("duration",),
                ("Staff have {0} of vacation", "Each year {0} are free"),
                ("How much vacation is there?",),
            ),
            (
                "supervisor",
                ("person", "place"),
                ("You report to {0} in {1}", "{0} leads the group in {1}"),
                ("Who leads the group?",),
            ),
        ),
    ),
    (
        ("Product Sheet", "Catalog Entry"),
        (
            ("price", ("money",), ("It sells for {0}", "Buyers pay {0} for it"), ("What do buyers pay?",)),
            ("weight", ("quantity",), ("It weighs {0}", "Its mass is {0}"), ("How heavy is it?",)),
            ("maker", ("company", "place"), ("{0} builds it in {1}", "It is made in {1} by {0}"), ("Who builds it?",)),
            (
                "free repair",
                ("duration", "company"),
                ("{1} repairs it free for {0}", "For {0} repair by {1} is free"),
                ("How long is repair free?",),
            ),
        ),
    ),
    (
        ("Mission Log", "Probe Report"),
        (
            (
                "launch",
                ("code", "date"),
                ("Probe {0} lifted off on {1}", "On {1} probe {0} was launched"),
                ("When did the probe lift off?",),
            ),
            (
                "orbit",
                ("duration",),
                ("One orbit takes {0}", "It circles the moon every {0}"),
                ("How long is one orbit?",),
            ),
            (
                "fuel",
                ("percent", "quantity"),
                ("The tank holds {1} and is {0} full", "{0} of the fuel is left, or {1}"),
                ("How full is the tank?",),
            ),
            (
                "cargo",
                ("thing", "thing"),
                ("The craft carries {0} and {1}", "On board are {0} and {1}"),
                ("What does the craft carry?",),
            ),
        ),
    ),
)
