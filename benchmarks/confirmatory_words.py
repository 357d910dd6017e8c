"""What docs/results/confirmatory.md says in words that no figure changes."""

QUESTION = """\
Does a quantized student gain from its float teacher's answers (`+ logits`), from its membrane potentials
(`+ membrane`), or from both, over training on labels alone (`QAT`)? And do membranes add anything to logits? An earlier
page ([what distillation is worth](distillation.md)) could not tell: its teachers stopped early, its variants had
unequal numbers of trials, and its scenario was chosen after another one had shown nothing. Here teachers are trained
until more epochs gain nothing, every variant has as many trials, two scenarios stand side by side, and plan, seeds and
analysis were fixed in git before a test sample was read.

`less`: the student is trained on a part of its teacher's samples. `same`: on all of them, for as many optimizer steps
(64). `calibration only` is the student before any training; it is a reference and has no trial."""

SETTINGS = """\
Test parts: N-MNIST 300 recordings (the file's 100, and 200 of its training part), MNIST 2,500 of the file's 10,000
images. The splits are new ones; but MNIST's test part and 100 of N-MNIST's recordings are those that earlier
experiments read too, as there are no others. Frames and images have half the resolution (17 x 17 and 14 x 14), so that
hundreds of networks fit into hours of one core: accuracies are not comparable with those of other pages.

`2bit` and `ternary`: so many bits for the weights of every layer, first and last included, with 2- and 4-bit membranes;
`4bit_all`: 4 bits for weights of every layer, membranes and multipliers of batch norms. Networks are small ones
(`benchmarks/confirmatory_networks.py`), T = 4. Accuracies in percent of the test part, read once by the exported graph;
intervals are 95 %."""

DEVIATIONS = """\
**Deviations from a plan: none.** Fixed before the first plan, by trials on seed 9 and samples for tuning: the
resolution, the teachers' learning rate (2e-2 of 1e-2 and 2e-2) and 64 steps of a student. Added after the plan of
N-MNIST, on tuning seeds alone: what was chosen for twice the epochs (below), and a stricter rule for teachers, by which
none of the longer trainings may gain 0.3 points, not the next alone (it changes nothing for N-MNIST). What N-MNIST
shows is known when MNIST is tuned; candidates, rungs, seeds and analysis were in git before either.

**Cut for time**: CIFAR-10 and Tiny-ImageNet, whose networks take minutes each on this machine; the full resolution; and
what the first line says is missing. The membrane distance is the mean square alone, of potentials before reset;
candidates were tuned in `less` and hold in `same` too.

**How far to trust the choices.** Three seeds of 200 recordings tell candidates apart by two to three points, and the
chosen rates of the variants lie a factor of 20 apart: a difference here is that of two variants with what equal trials
found for each, not of their losses at one rate."""

NEXT = """\
Eight other ways to compare membranes were tried since: heavier, as distributions (`emd`, `moments`), near the threshold
alone (`firing`), in the last layer alone, in the first epochs alone, after reset, and for a student of fewer steps.
[None is shown to add to logits](membrane_ideas.md); that page also shows where the distance of membranes lies.

- **Less noise**: ten tuning seeds instead of two or three, before anything is believed to be better.
- **Longer**: students take 64 optimizer steps here, in which membranes hardly come nearer (table above)."""
