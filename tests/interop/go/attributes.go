package main

// Numbers of psa_algorithm and psa_key_attributes.
const (
	sha256Number = 7
	sha384Number = 8
	sha512Number = 9
	ecdhNumber   = 2
)

var (
	usageSign  = join(number(8, 1), number(9, 1))
	usageCrypt = join(number(4, 1), number(5, 1))
	usageAgree = number(10, 1)

	hashSha256 = blob(1, number(2, sha256Number))
	algEcdsa   = blob(4, hashSha256)
	algPkcs1   = blob(1, hashSha256)
	algPss     = blob(3, hashSha256)
	algCrypt   = blob(1)
	algOaep    = blob(2, number(1, sha256Number))
	algGcm     = number(1, 2)

	typeAes  = blob(4)
	typeRsa  = blob(10)
	typeP256 = blob(11, number(1, 2))
)

func attributes(keyType []byte, bits uint64, usage, algorithm []byte) []byte {
	return join(blob(1, keyType), number(2, bits), blob(3, blob(1, usage), blob(2, algorithm)))
}

func signature(algorithm []byte) []byte  { return blob(6, algorithm) }
func encryption(algorithm []byte) []byte { return blob(7, algorithm) }
func aead(algorithm []byte) []byte       { return blob(5, algorithm) }
func agreement() []byte                  { return blob(8, number(1, ecdhNumber)) }

func name(key string) []byte { return blob(1, []byte(key)) }

func (c client) generate(key string, attributes []byte) error {
	_, err := c.call(c.provider, opGenerateKey, join(name(key), blob(2, attributes)))
	return err
}

func (c client) importKey(key string, attributes, data []byte) error {
	_, err := c.call(c.provider, opImportKey, join(name(key), blob(2, attributes), blob(3, data)))
	return err
}

func (c client) destroy(key string) error {
	_, err := c.call(c.provider, opDestroyKey, name(key))
	return err
}

// use calls an operation on a key and returns the first field of its result.
func (c client) use(opcode uint32, key string, algorithm []byte, fields ...[]byte) ([]byte, error) {
	body := join(name(key), blob(2, algorithm))
	for i, f := range fields {
		body = append(body, blob(3+i, f)...)
	}
	return c.first(opcode, body)
}

// first calls an operation of the provider and returns the first field of its result.
func (c client) first(opcode uint32, body []byte) ([]byte, error) {
	result, err := c.call(c.provider, opcode, body)
	if err != nil {
		return nil, err
	}
	f, err := find(result, 1)
	return f.bytes, err
}

func (c client) publicKey(key string) ([]byte, error) {
	return c.first(opExportPublicKey, name(key))
}
