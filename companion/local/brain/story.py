"""A story long enough to be interrupted: about forty seconds of speech."""

STORY = (
    "Once there was a small lighthouse at the edge of a grey and restless sea.",
    "An old keeper called Martha lived there, with a cat and a clock that was always late.",
    "Every evening she climbed ninety steps and lit the lamp by hand.",
    "One winter night a great storm came in from the west, and the wind blew the lamp out.",
    "Martha lit it again, and the wind blew it out again.",
    "So she took the cat's silver bell, and rang it from the window as loudly as she could.",
    "Far out in the dark, a fishing boat heard the bell and turned slowly away from the rocks.",
    "In the morning the storm was over, and four tired sailors knocked at her door.",
    "They brought her a basket of fish, and for the cat they brought a new bell.",
    "And from that day on, whenever the lamp was lit, the bell was rung as well.",
)
