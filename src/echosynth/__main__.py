"""`python -m echosynth`, and so `accelerate launch -m echosynth run ...`."""

from echosynth.cli import main

main()
