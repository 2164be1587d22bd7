"""What a study will take: time, devices and money, from a short probe and a simulation."""
