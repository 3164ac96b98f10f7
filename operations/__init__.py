"""Operations on a stack as a whole: its toolchain, up and down, doctor, port-forward and teardown."""
