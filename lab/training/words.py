"""The word lists of the small world."""

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().replace("_", " ") for word in text.split())


PETS: Final = _words(
    "dog cat horse parrot rabbit hamster goldfish turtle pony goat donkey snake lizard canary puppy kitten duck"
)
KIN: Final = _words(
    "sister brother mother father aunt uncle cousin niece nephew daughter son wife husband friend neighbour boss teacher doctor"
    " dentist colleague grandmother grandfather partner roommate landlord coach tutor manager girlfriend boyfriend best_friend"
    " mum dad assistant lawyer mechanic hairdresser baby twin neighbor supervisor professor mentor"
)
NAMED_THINGS: Final = _words(
    "boat car house robot company team band school street village project ship farm hotel cafe garden bicycle guitar shop"
    " server laptop newspaper island planet club restaurant bakery bank book blog startup city town bike computer"
)
OWNED: Final = _words(
    "car house bicycle bike coat bag hat door phone boat tent umbrella kitchen guitar scarf desk lamp sofa suitcase jacket"
    " bedroom shirt mug notebook laptop helmet wallet motorbike backpack shoes chair van truck garage keyboard"
)
FAVOURITES: Final = _words(
    "colour food drink city animal fruit sport season book film song game flower author band singer dish place country tea"
    " number day month tree bird painter movie team restaurant vegetable dessert subject cheese"
)
COLOURS: Final = _words(
    "red blue green yellow purple orange black white grey brown pink teal turquoise violet silver gold crimson indigo beige"
)
FOODS: Final = _words(
    "pizza pasta soup rice bread cheese curry sushi salad pancakes noodles chocolate apples pears mangoes nuts peanuts"
    " strawberries tomatoes potatoes mushrooms fish eggs honey milk lasagne dumplings tacos"
)
DRINKS: Final = _words("tea coffee water juice milk cocoa lemonade wine beer cider")
ANIMALS: Final = _words(
    "fox owl wolf bear otter whale tiger dolphin eagle hedgehog penguin panda lion elephant dog cat"
)
SPORTS: Final = _words(
    "tennis football chess rowing climbing swimming golf hockey basketball cycling running boxing rugby"
)
HOBBIES: Final = _words(
    "painting cooking gardening fishing sailing reading knitting dancing singing hiking photography pottery baking juggling"
    " skiing surfing woodworking writing drawing yoga astronomy"
)
JOBS: Final = _words(
    "baker teacher nurse pilot farmer painter lawyer engineer gardener driver plumber chemist carpenter writer dentist"
    " doctor cook judge sailor tailor librarian biologist designer programmer accountant architect musician actor editor"
)
LANGUAGES: Final = _words(
    "French German Spanish Italian Japanese Greek Latin Dutch Polish Korean Arabic Swedish Russian Hindi"
)
SEASONS: Final = _words("spring summer autumn winter")
DAYS: Final = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS: Final = _words(
    "January February March April May June July August September October November December"
)
FIRST_NAMES: Final = _words(
    "Rex Anna Tom Bella Max Luna Charlie Emma Oliver Sophie Jack Maria Peter Lucy Sam Kate Paul Laura David Sara Felix Nina"
    " Leo Clara Hugo Eva Oscar Alice Simon Julia Mark Helen Ben Rosa Milo Ruby Buddy Daisy Rocky Whiskers Shadow Coco Fido"
    " John Mary James Linda Robert Susan Michael Karen Daniel Amir Yuki Priya Chen Ines Omar Fatima Ivan Olga Kofi Ada"
    " Alan Grace Edgar Victor Tamara Nora Theo Iris Bob Carol Dave Eve Frank George Henry Jane"
)
PLACES: Final = _words(
    "Paris London Berlin Madrid Rome Oslo Vienna Lisbon Dublin Prague Athens Tokyo Cairo Lima Boston Chicago Toronto Sydney"
    " Hamburg Munich Zurich Geneva Milan Porto Krakow Helsinki Stockholm Copenhagen Amsterdam Brussels Delhi Nairobi Quito"
    " Kyoto Seoul Denver Austin Seattle Bristol Leeds York Bath Lyon Nice Florence Venice France Spain Italy Norway Japan"
    " Peru Egypt Canada Germany Portugal Iceland Kenya"
)
COMPANIES: Final = _words(
    "Acme Globex Initech Umbra Northwind Contoso Fabrikam Google Siemens Nestle Airbus Ikea"
)
TITLES: Final = (
    "The Silent {}",
    "A Night in {}",
    "The Last {}",
    "{} Rising",
    "Return to {}",
    "The {} Letters",
)
THINGS: Final = _words(
    "key spare_key book red_book umbrella map ring letter lamp box passport ticket hammer torch scissors tape wallet camera"
    " charger blanket medicine first_aid_kit glasses remote notebook bottle coffee_tin bicycle_pump screwdriver contract"
)
SPOTS: Final = _words(
    "drawer kitchen garden attic cellar cupboard garage desk hall bathroom shelf fridge car office basket bedroom table sofa"
    " wardrobe shed suitcase blue_box bag safe cabinet library closet living_room"
)
PREPOSITIONS: Final = ("in", "in", "in", "on", "under", "behind", "next to", "near")
EVENTS: Final = _words(
    "meeting concert exam party wedding flight train dinner interview lecture appointment match workshop deadline conference"
    " review launch picnic exhibition dentist_appointment team_meeting bus ferry rehearsal ceremony delivery"
)
LOCKS: Final = _words(
    "safe door gate locker garage wifi alarm vault lock bike_lock launch access entry office server"
)
CODES: Final = ("code", "password", "number", "PIN", "combination")
MY_NUMBERS: Final = _words(
    "phone_number locker_number lucky_number PIN shoe_size seat_number room_number account_number licence_plate postcode"
    " house_number ticket_number flight_number customer_number ID_number booking_code gate_number student_number desk_number"
)
MY_NAMES: Final = _words(
    "surname middle_name nickname username project_name university street last_name"
    " email_address native_language maiden_name flatmate postal_town supplier pen_name"
)
ROLES: Final = _words(
    "capital mayor currency president river king queen language founder leader owner biggest_city highest_mountain author"
    " inventor director chief_engineer population_centre national_bird"
)
TOPICS: Final = _words(
    "black_holes whales volcanoes the_moon old_maps solar_power bees climate_change jazz coffee trains robots dinosaurs"
    " gardens castles ancient_Rome neural_networks databases chess_openings rainbows tides glaciers bread honey_bees clocks"
    " bridges lighthouses electric_cars batteries vaccines proteins batch_schedulers sleep memory language music kites"
    " deserts mushrooms sharks penguins steam_engines compilers quantum_computers inflation housing football wind_turbines"
    " satellites the_weather the_ocean running shoes windows rivers mountains tea paper history cooking children_and_screens"
)
PLAIN_NOUNS: Final = _words(
    "bus train film garden kitchen window street walk dinner lunch book song shop market park river lake forest dream"
    " sandwich cake puzzle game storm snow sun rain wind bridge road museum neighbour friend meeting office computer screen"
    " keyboard printer coffee tea bread soup letter parcel bicycle car holiday weekend morning evening night sofa radio"
)
ADJECTIVES: Final = _words(
    "nice long short quiet busy strange lovely boring tired happy funny cold warm heavy light new old slow fast interesting"
    " difficult easy great awful calm noisy empty full bright dark sunny rainy"
)
