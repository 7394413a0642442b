"""The substitute messages of implicit rejection."""

from cofferdam_providers.pyca.implicit_rejection import RejectionPredictor

SIZE = 128


def test_substitutes_repeat_and_differ_by_key_and_ciphertext() -> None:
    first, second = RejectionPredictor(3, SIZE), RejectionPredictor(5, SIZE)
    ciphertexts = [number.to_bytes(SIZE, "big") for number in range(20)]
    assert [first.substitute(text) for text in ciphertexts] == [first.substitute(text) for text in ciphertexts]
    assert len({first.substitute(text) for text in ciphertexts}) == 20
    assert all(first.substitute(text) != second.substitute(text) for text in ciphertexts)


def test_substitutes_are_as_long_as_messages_can_be() -> None:
    predictor = RejectionPredictor(7, SIZE)
    lengths = {len(predictor.substitute(number.to_bytes(SIZE, "big"))) for number in range(1500)}
    assert lengths == set(range(SIZE - 10))
