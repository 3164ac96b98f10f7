"""Words of the pretraining stream: an everyday English vocabulary and makers of invented words.

Words of contract language are kept out on purpose (`RESERVED`), so that the sample legal dataset stays a domain the
base model has never met. Invented words teach the model to read and copy words it does not know.
"""

import random
from dataclasses import dataclass


def words(text: str) -> tuple[str, ...]:
    """Split a text at white space."""
    return tuple(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """Split a text at bars."""
    return tuple(" ".join(part.split()) for part in text.split("|"))


NOUNS = words("""rate price weight length level score volume limit code name color speed depth width height age
    cost total number count ratio date time place target source label title grade stock batch route gate seat
    room floor table engine battery sensor valve pump filter lamp cable panel screen motor wheel brake tank pipe
    roof wall door window garden river lake hill forest island harbor bridge tower market station museum school
    hospital library stadium studio kitchen oven pan bowl sauce bread cheese apple pepper onion tomato carrot
    rice noodle soup salad cake butter sugar coffee tea ticket flight train bus ferry hotel guest luggage
    passport tour guide driver pilot captain crew coach player goal match league team season referee trophy medal
    sample tube dose test result reading patient nurse doctor clinic course lesson teacher student exam class
    book chapter author editor magazine film song band concert artist laptop phone printer server router backup
    update version browser password folder file camera lens charger jacket shirt boots scarf glove helmet tent
    rope map compass horse dog cat bird fish herd farm field crop seed harvest tractor fence barn orchard bakery
    shop warehouse parcel courier pallet crate shelf invoice order refund voucher discount budget salary bonus
    vacancy shift manager clerk analyst designer plumber repair fault noise heat wind rain snow storm cloud tide
    wave frost pressure forecast alert signal beacon orbit probe comet star moon planet rover shaft mine kiln
    alloy fabric thread pattern sleeve button zipper notice fee interest month year day week hour minute claim
    record insurance audit term period owner work product state town county city country body sum amount report
    note sheet memo log card plan summary letter statement office desk staff group person people customer member
    partner visitor neighbor colleague friend family child parent worker keeper reader writer question answer
    reply detail fact item point matter case thing part piece side end start line entry page list row column box
    bag bottle cup glass plate knife spoon chair bed carpet curtain mirror clock watch paper pencil paint brush
    tool hammer nail screw drill saw ladder bucket hose wire switch socket bulb fuse street road square park hall
    corner path tunnel canal dock pier beach coast cliff valley desert meadow stone brick sand clay metal iron
    steel copper gold silver wood plastic rubber leather cotton wool silk water fire air earth light shadow sound
    voice music picture image video message email network system project task job step stage phase process method
    model design form shape size range share half quarter base top bottom front back center edge surface area
    zone region border distance direction position reason cause effect change growth loss profit value benefit
    risk danger safety health care training service support supply demand delivery transfer exchange return
    release approval permit access entrance exit account bank cash coin credit debt loan payment deposit receipt
    tax income fund cover event occurrence rule request proposal decision choice option offer promise duty right
    title property objection standard meeting session visit trip journey holiday breakfast lunch dinner snack
    drink meal recipe dish menu language word letter sentence story poem article paragraph comment review survey
    poll vote effort energy power fuel gas oil coal electricity current charge force motion party client provider
    dispute consent assignment renewal convenience expiry subject condition forum""")
ADJECTIVES = words("""main final first second third early late daily weekly monthly annual local global inner
    outer upper lower left right front rear red blue green white black grey golden warm cold hot dry wet fresh
    raw fast slow heavy light long short wide narrow deep shallow high low new old young spare extra basic
    special average maximum minimum typical usual gross public private internal external planned actual expected
    reported measured official temporary permanent primary secondary regular rapid silent bright dark smooth
    rough soft hard sweet sour bitter round flat sharp northern southern eastern western central remote nearby
    modern classic compact digital manual automatic electric open closed full empty free busy quiet loud clean
    dirty safe ready able certain clear common complete correct different direct easy entire equal exact fair
    famous fine general great important large less little material minor more natural necessary normal other
    particular possible prior proper quick real recent same secret separate serious similar simple single small
    sole solid sound steady strict strong sudden total true valid various visible whole written overdue unpaid
    exclusive binding harmless aggregate effective due several""")
VERBS = words("""add allow answer apply arrive ask begin belong bring build buy call carry change check choose
    clean close collect come commit complete conduct continue copy count cover cut decide deliver depend describe
    design draw drive eat enter examine exceed expect explain extend fall feed fill find finish fit fix follow
    force gather give grow hand happen hear help hold inspect inform invite join keep lead learn leave lend let
    lift limit listen live load lock look lose maintain make mark measure meet mix move name need notify object
    offer open order own pack paint park pass pay permit pick place plan plant play point post prepare press
    print protect provide pull push put reach read receive record reduce refer remain remove rent repair repeat
    replace reply report require reserve resolve rest return ring rise run save say search seat see sell send
    separate serve set settle share ship show sign sit sleep sort speak spend stand start stay stop store study
    submit supply surrender survive take talk teach tell test terminate assign commence expire consent throw
    touch train transfer travel try turn undertake use visit wait walk want warn wash watch wear weigh win work
    wrap write accept accrue attract bear bind charge endure entitle mature remedy renew vest""")
IRREGULAR = words("""is are was were be been has had have does did made kept held set sent found given taken
    shown seen known left paid sold bought built brought chosen drawn driven eaten fallen grown heard led lost
    met read run said sat spoken spent stood taught told thrown understood won worn written begun borne bound
    deemed required permitted entitled agreed located limited settled received shall parties solely exclusively""")
FUNCTION_WORDS = words("""the the the the the a a a an of of of of and and to to to in in in on for for with by
    at from as is is are be been was were will may must can not no any all each every such this that these those
    it its their or if unless until upon after before under over within without than more less only also both
    either other same between during through per up not later least following towards against once where which
    who when whose whom how what""")
COUNT_WORDS = words("one two three four five six seven eight nine ten twelve fifteen twenty thirty sixty")
FIRST_NAMES = words("""Anna Ben Carla David Elena Felix Grace Hugo Irene Jonas Karin Liam Maria Nora Oscar Paula
    Quinn Rosa Samuel Tara Umar Vera Walter Xenia Yusuf Zoe Amir Bella Chen Dora Emil Fatima Gustav Hana Ivan
    Julia Kofi Lena Milan Nadia Omar Priya Rafael Sofia Tomas Ursula Victor Wendy Aisha Bruno Clara Dmitri Esther
    Farid Greta Henry""")
LAST_NAMES = words("""Adler Brandt Costa Dunn Evans Fischer Garcia Haas Ito Jensen Kovac Lopez Meyer Novak Olsen
    Patel Rossi Silva Tanaka Ueda Vargas Weber Young Abbott Barnes Carver Doyle Ellis Flynn Grant Hayes Irwin
    Jarvis Keller Lang Morris Nolan Owens Parker Reyes Shaw Turner Vance Walsh Yates Okafor Nguyen Singh Ahmed
    Larsen""")
CITIES = words("""Paris Lyon Oslo Bergen Rome Milan Madrid Seville Lisbon Porto Berlin Hamburg Vienna Graz Zurich
    Geneva Prague Brno Warsaw Krakow Athens Dublin Cork London Leeds Bristol Glasgow Cairo Tunis Nairobi Accra
    Lagos Delhi Mumbai Tokyo Osaka Kyoto Seoul Hanoi Manila Perth Sydney Toronto Montreal Boston Denver Austin
    Seattle Phoenix Atlanta Miami Dallas Quito Lima Bogota""")
COMPANY_ENDINGS = words("""Labs Works Studio Group Traders Motors Farms Systems Travel Press Tools Energy
    Robotics Stores Mills Guild Union Bros. Co. Sons Pty. Plc""")
MONTHS = words("January February March April May June July August September October November December")

RESERVED = frozenset(
    words("""agreement agreements contract contracts clause clauses section sections pursuant hereunder hereby
    hereof herein thereof thereto law laws legal lawful court courts jurisdiction arbitration arbitrate
    arbitrator liability liabilities liable indemnify indemnifies indemnified indemnity indemnification breach
    breaches cure cured confidentiality govern governed governing licensee licensor license lessor lessee lease
    provision provisions obligation obligations obligated warranty warranties remit irrevocably deliverable
    deliverables whatsoever controversies construed judgment plaintiff defendant attorney statute""")
)
"""Words of contract language. None of them ever occurs in the stream."""

_ONSETS = words("b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl pr sh sk st th tr")
_VOWELS = words("a e i o u a e i o ai ea io oa ou")
_CODAS = words("n r s t l x m nd rk st nt lm ck")
_PREFIXES = ("",) * 9 + words(
    "re con pro de in ex sub trans pre per ob ad com dis un inter over under out en im ac mis for col ap micro"
)
_ROOTS = words("""struct dict port mit tain sist fer ject duc spect vert press tract form pos sum scrib ceiv
    claim clud cur gress plic quir sent serv solv spir tend vent vid voc volv act apt art bal ban band bar bas
    bend bill bind bond bran break brid build cand cap cast caus cel cept cert chang chart check circ cit civ
    clar clos cogn commod cord corp cost count cover cred cruit cult cumb dat dem dent doc dom don drain draw
    drop dur effec elec equ err est eval fac fair fall fam firm fix flag flec flow fold fort found frag front fug
    fund gain gar gath gen gest giv glob grad grant graph grav ground group guard guid hab hand harm heal hedg
    herit hold host hum ident imag join jour judic junct just kin labor land laps launch lead leas lect leg lever
    liber lig lim lin liqu liv loc long lum mach main mand mark mass mat max med mem mend merc merg meth migr min
    miss mob mod mon mot mount mov mult nam nat neg neut nom norm not nounc numer nur oblig occas offic oper opin
    opt ord org orig pact par pass path patr pay ped pel pend perm pet phas pict pil plan plat play plea plen
    plot point pol pond pool pop post pound prac pres prim priv prob proc prod prof prompt prop prov publ punc
    purch quant quest quot rad rais ran reach read real reas rec reg rel rem rent rep res ret rev rig rol rot
    rout rul sal san sat sav scal scan sched scop seal sec seg sel sem sens sep set sev shar ship sid sign sim
    sit soc sol sourc spac span spec spend splen spon stab stag stand stat stim stip stop stor strat strict sub
    suc suit sup surv sust symb syst tact tal tang tar tax techn temp ten term test text therm tim tit tol ton
    top tot touch tour trad trail train trav treat trib trust turn typ ult unit urg util vac val van var vast vel
    verb vest view vis vit vol vot wag wait war ward watch weigh wid win word work worth yard yield zon""")
_SUFFIXES = ("",) * 6 + words("""
    tion ation ment able ance ence ing ed er or ly ity ous ive al ant ent ure age ism ful less ness ize ate ary ory
    ship s es en ward ic ible ency ancy ions ating ified ify""")


def _inflected(verb: str) -> tuple[str, str, str]:
    """Rough -s, -ed and -ing forms; a wrong one is only one more invented word."""
    stem = verb.removesuffix("e")
    third = verb + ("es" if verb.endswith(("s", "sh", "ch", "x")) else "s")
    return third, stem + "ed", stem + "ing"


EVERYDAY = tuple(
    word
    for word in (
        *NOUNS,
        *NOUNS,
        *(noun + "s" for noun in NOUNS if not noun.endswith(("s", "y", "h"))),
        *ADJECTIVES,
        *ADJECTIVES,
        *VERBS,
        *(form for verb in VERBS for form in _inflected(verb)),
        *IRREGULAR,
        *IRREGULAR,
        *COUNT_WORDS,
    )
    if word not in RESERVED
)


def coin(rng: random.Random) -> str:
    """Make an invented word made of syllables."""
    while True:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2, 2, 2, 3))))
        if rng.random() < 0.6:
            word += rng.choice(_CODAS)
        if len(word) > 2 and word not in RESERVED:
            return word


def derive(rng: random.Random) -> str:
    """Make an invented word made of English prefixes, roots and endings."""
    while True:
        word = rng.choice(_PREFIXES) + rng.choice(_ROOTS)
        if rng.random() < 0.12:
            word += rng.choice(_ROOTS)
        word += rng.choice(_SUFFIXES)
        if 2 < len(word) < 16 and word not in RESERVED:
            return word


def spell(rng: random.Random, longest: int = 7) -> str:
    """Make a string of letters that follows no rule."""
    while True:
        word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, longest)))
        if word not in RESERVED:
            return word


def compound(rng: random.Random) -> str:
    """Two everyday words in one, as in place and company names."""
    while True:
        word = rng.choice(ADJECTIVES if rng.random() < 0.5 else NOUNS) + rng.choice(NOUNS)
        if len(word) < 14 and word not in RESERVED:
            return word


def invent(rng: random.Random) -> str:
    """Make an invented word of any kind."""
    kind = rng.random()
    if kind < 0.4:
        return coin(rng)
    if kind < 0.7:
        return derive(rng)
    return compound(rng) if kind < 0.93 else spell(rng)


@dataclass(frozen=True)
class Vocabulary:
    """The words one session is written in: few enough to recur, drawn anew for each session."""

    words: tuple[str, ...]

    @classmethod
    def draw(cls, rng: random.Random) -> "Vocabulary":
        """Mostly everyday words, the rest invented."""
        share = rng.choice((0.6, 0.75, 0.9, 0.97))
        size = rng.choice((40, 80, 160))
        return cls(
            tuple(
                rng.choice(EVERYDAY) if rng.random() < share else derive(rng) if rng.random() < 0.7 else coin(rng)
                for _ in range(size)
            )
        )

    def word(self, rng: random.Random) -> str:
        """Any content word."""
        return rng.choice(self.words)

    def phrase(self, rng: random.Random, shortest: int, longest: int) -> str:
        """Make a run of content and function words."""
        pick, chance, words = rng.choice, rng.random, self.words
        return " ".join(
            pick(FUNCTION_WORDS) if chance() < 0.42 else pick(words) for _ in range(rng.randint(shortest, longest))
        )
