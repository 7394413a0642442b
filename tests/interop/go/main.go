// A client of the service that shares nothing with it: another language, another codec, another cryptography.
//
//	go-client SOCKET PROVIDER
//
// Prints `ok NAME` or `FAILED NAME: REASON` for each check, and `end`.
package main

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strconv"
)

var message = []byte("a message of the Go client")

func main() {
	provider, err := strconv.ParseUint(os.Args[2], 10, 8)
	if err != nil {
		panic(err)
	}
	c := client{os.Args[1], byte(provider)}
	for _, check := range []struct {
		name string
		run  func(client) error
	}{
		{"ping", ping},
		{"list providers, authenticators and opcodes", listings},
		{"generate, list and destroy a key", keys},
		{"ECDSA with a generated key, verified by Go", ecdsaGenerated},
		{"ECDSA with an imported key, signed and verified on both sides", ecdsaImported},
		{"RSA PKCS #1 v1.5 and PSS signatures, both sides", rsaSignatures},
		{"RSA PKCS #1 v1.5 and OAEP encryption, both sides", rsaEncryption},
		{"AES-256-GCM, both sides", aesGcm},
		{"ECDH with a key of Go", keyAgreement},
		{"hashes", hashes},
		{"random bytes", randomBytes},
		{"export of a key, permitted and not", exports},
		{"CanDoCrypto", canDoCrypto},
		{"many requests on one connection", kept},
	} {
		if err := check.run(c); err != nil {
			fmt.Printf("FAILED %s: %v\n", check.name, err)
		} else {
			fmt.Printf("ok %s\n", check.name)
		}
	}
	fmt.Println("end")
}

func must(condition bool, text string) error {
	if condition {
		return nil
	}
	return errors.New(text)
}

// refused tells whether an operation ended with exactly this status.
func refused(err error, status uint32) error {
	var got statusError
	if errors.As(err, &got) && got.status == status {
		return nil
	}
	return fmt.Errorf("status %d expected, not: %v", status, err)
}

func ping(c client) error {
	body, err := c.call(0, opPing, nil)
	return errors.Join(err, must(bytes.Equal(body, number(1, 1)), "another version than 1.0"))
}

func listings(c client) error {
	body, err := c.call(0, opListProviders, nil)
	if err != nil {
		return err
	}
	providers, err := parse(body)
	uuids := []string{"1c1139dc-ad7c-47dc-ad6b-db6fdb466552"}
	if c.provider == pkcs11 {
		uuids = append(uuids, "30e39502-eba6-4d60-a4af-c518b7f5e38f")
	}
	uuids = append(uuids, "47049873-2a43-4845-9d72-831eab668784")
	if err != nil || len(providers) != len(uuids) {
		return fmt.Errorf("%d providers, %v", len(providers), err)
	}
	for i, uuid := range uuids {
		if f, _ := find(providers[i].bytes, 1); string(f.bytes) != uuid {
			return fmt.Errorf("provider %d is %s", i, f.bytes)
		}
	}
	body, err = c.call(0, opListAuthenticator, nil)
	if err != nil {
		return err
	}
	entry, _ := find(body, 1)
	if id, _ := find(entry.bytes, 6); id.value != unixPeer {
		if id, _ = find(entry.bytes, 5); id.value != unixPeer {
			return fmt.Errorf("authenticator %x", entry.bytes)
		}
	}
	body, err = c.call(0, opListOpcodes, number(1, uint64(c.provider)))
	if err != nil {
		return err
	}
	packed, _ := find(body, 1)
	opcodes := map[byte]bool{}
	for _, opcode := range packed.bytes {
		opcodes[opcode] = true
	}
	wanted := []byte{2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 15, 16, 17, 18, 19, 32}
	if c.provider == pkcs11 {
		wanted = []byte{2, 3, 4, 5, 6, 7, 10, 11, 13, 32}
	}
	for _, opcode := range wanted {
		if !opcodes[opcode] {
			return fmt.Errorf("operation %d is not offered", opcode)
		}
	}
	return must(len(opcodes) == len(wanted), "operations that Parsec does not have")
}

func keys(c client) error {
	wanted := attributes(typeP256, 256, usageSign, signature(algEcdsa))
	if err := c.generate("listed", wanted); err != nil {
		return err
	}
	if err := refused(c.generate("listed", wanted), statusAlreadyExists); err != nil {
		return err
	}
	body, err := c.call(0, opListKeys, nil)
	if err != nil {
		return err
	}
	entries, err := parse(body)
	if err != nil || len(entries) != 1 {
		return fmt.Errorf("%d keys, %v", len(entries), err)
	}
	found, _ := find(entries[0].bytes, 2)
	if string(found.bytes) != "listed" {
		return fmt.Errorf("a key %q", found.bytes)
	}
	if err := c.destroy("listed"); err != nil {
		return err
	}
	if err := refused(c.destroy("listed"), statusDoesNotExist); err != nil {
		return err
	}
	body, err = c.call(0, opListKeys, nil)
	return errors.Join(err, must(len(body) == 0, "a destroyed key is listed"))
}

func split(signature []byte) (*big.Int, *big.Int) {
	half := len(signature) / 2
	return new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
}

func ecdsaGenerated(c client) error {
	if err := c.generate("ecdsa", attributes(typeP256, 256, usageSign, signature(algEcdsa))); err != nil {
		return err
	}
	defer c.destroy("ecdsa")
	point, err := c.publicKey("ecdsa")
	if err != nil {
		return err
	}
	x, y := elliptic.Unmarshal(elliptic.P256(), point)
	if x == nil {
		return fmt.Errorf("no point: %x", point)
	}
	digest := sha256.Sum256(message)
	made, err := c.use(opSignHash, "ecdsa", algEcdsa, digest[:])
	if err != nil || len(made) != 64 {
		return fmt.Errorf("a signature of %d bytes, %v", len(made), err)
	}
	r, s := split(made)
	if !ecdsa.Verify(&ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}, digest[:], r, s) {
		return errors.New("Go does not accept the signature")
	}
	if _, err := c.use(opVerifyHash, "ecdsa", algEcdsa, digest[:], made); err != nil {
		return err
	}
	made[10] ^= 1
	_, err = c.use(opVerifyHash, "ecdsa", algEcdsa, digest[:], made)
	return refused(err, statusInvalidSignature)
}

func ecdsaImported(c client) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	wanted := attributes(typeP256, 256, usageSign, signature(algEcdsa))
	if err := c.importKey("imported", wanted, key.D.FillBytes(make([]byte, 32))); err != nil {
		return err
	}
	defer c.destroy("imported")
	point, err := c.publicKey("imported")
	if err != nil || !bytes.Equal(point, elliptic.Marshal(elliptic.P256(), key.X, key.Y)) {
		return fmt.Errorf("another public key, %v", err)
	}
	digest := sha256.Sum256(message)
	made, err := c.use(opSignHash, "imported", algEcdsa, digest[:])
	if err != nil {
		return err
	}
	if r, s := split(made); !ecdsa.Verify(&key.PublicKey, digest[:], r, s) {
		return errors.New("Go does not accept the signature")
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return err
	}
	own := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	_, err = c.use(opVerifyHash, "imported", algEcdsa, digest[:], own)
	return err
}

func rsaSignatures(c client) error {
	digest := sha256.Sum256(message)
	for _, scheme := range []struct {
		algorithm []byte
		verify    func(*rsa.PublicKey, []byte) error
		sign      func(*rsa.PrivateKey) ([]byte, error)
	}{
		{algPkcs1,
			func(key *rsa.PublicKey, made []byte) error {
				return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], made)
			},
			func(key *rsa.PrivateKey) ([]byte, error) { return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]) }},
		{algPss,
			func(key *rsa.PublicKey, made []byte) error {
				return rsa.VerifyPSS(key, crypto.SHA256, digest[:], made, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			},
			func(key *rsa.PrivateKey) ([]byte, error) {
				return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:],
					&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			}},
	} {
		if err := rsaSignature(c, scheme.algorithm, digest[:], scheme.verify, scheme.sign); err != nil {
			return err
		}
	}
	return nil
}

func rsaSignature(c client, algorithm, digest []byte, verify func(*rsa.PublicKey, []byte) error,
	sign func(*rsa.PrivateKey) ([]byte, error)) error {
	wanted := attributes(typeRsa, 2048, usageSign, signature(algorithm))
	if err := c.generate("rsa", wanted); err != nil {
		return err
	}
	defer c.destroy("rsa")
	der, err := c.publicKey("rsa")
	if err != nil {
		return err
	}
	public, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return err
	}
	made, err := c.use(opSignHash, "rsa", algorithm, digest)
	if err != nil {
		return err
	}
	if err := verify(public, made); err != nil {
		return err
	}
	made[10] ^= 1
	_, err = c.use(opVerifyHash, "rsa", algorithm, digest, made)
	if err := refused(err, statusInvalidSignature); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	if err := c.importKey("rsa-imported", wanted, x509.MarshalPKCS1PrivateKey(key)); err != nil {
		return err
	}
	defer c.destroy("rsa-imported")
	own, err := sign(key)
	if err != nil {
		return err
	}
	_, err = c.use(opVerifyHash, "rsa-imported", algorithm, digest, own)
	return err
}

func rsaEncryption(c client) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	label := []byte("a label")
	for _, scheme := range []struct {
		algorithm, label []byte
		encrypt          func() ([]byte, error)
		decrypt          func([]byte) ([]byte, error)
	}{
		{algCrypt, nil,
			func() ([]byte, error) { return rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, message) },
			func(text []byte) ([]byte, error) { return rsa.DecryptPKCS1v15(nil, key, text) }},
		{algOaep, label,
			func() ([]byte, error) {
				return rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, message, label)
			},
			func(text []byte) ([]byte, error) { return rsa.DecryptOAEP(sha256.New(), nil, key, text, label) }},
	} {
		wanted := attributes(typeRsa, 2048, usageCrypt, encryption(scheme.algorithm))
		if c.provider == pkcs11 && scheme.label != nil {
			// SoftHSM has OAEP with SHA-1 alone.
			return refused(c.importKey("crypt", wanted, x509.MarshalPKCS1PrivateKey(key)), statusNotSupported)
		}
		if err := c.importKey("crypt", wanted, x509.MarshalPKCS1PrivateKey(key)); err != nil {
			return err
		}
		theirs, err := c.use(opAsymmetricEncrypt, "crypt", scheme.algorithm, message, scheme.label)
		if err != nil {
			return err
		}
		if plain, err := scheme.decrypt(theirs); err != nil || !bytes.Equal(plain, message) {
			return fmt.Errorf("Go decrypts to %q, %v", plain, err)
		}
		ours, err := scheme.encrypt()
		if err != nil {
			return err
		}
		plain, err := c.use(opAsymmetricDecrypt, "crypt", scheme.algorithm, ours, scheme.label)
		if err != nil || !bytes.Equal(plain, message) {
			return fmt.Errorf("the service decrypts to %q, %v", plain, err)
		}
		if err := c.destroy("crypt"); err != nil {
			return err
		}
	}
	return nil
}

func aesGcm(c client) error {
	secret, nonce, extra := make([]byte, 32), make([]byte, 12), []byte("additional data")
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	if err := c.importKey("aes", attributes(typeAes, 256, usageCrypt, aead(algGcm)), secret); err != nil {
		return err
	}
	defer c.destroy("aes")
	block, err := aes.NewCipher(secret)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sealed := gcm.Seal(nil, nonce, message, extra)
	theirs, err := c.use(opAeadEncrypt, "aes", algGcm, nonce, extra, message)
	if err != nil || !bytes.Equal(theirs, sealed) {
		return fmt.Errorf("%x in place of %x, %v", theirs, sealed, err)
	}
	plain, err := c.use(opAeadDecrypt, "aes", algGcm, nonce, extra, sealed)
	if err != nil || !bytes.Equal(plain, message) {
		return fmt.Errorf("decrypted to %q, %v", plain, err)
	}
	sealed[3] ^= 1
	_, err = c.use(opAeadDecrypt, "aes", algGcm, nonce, extra, sealed)
	return refused(err, statusInvalidSignature)
}

func keyAgreement(c client) error {
	err := c.generate("ecdh", attributes(typeP256, 256, usageAgree, agreement()))
	if c.provider == pkcs11 {
		return refused(err, statusNotSupported)
	}
	if err != nil {
		return err
	}
	defer c.destroy("ecdh")
	ours, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	point, err := c.publicKey("ecdh")
	if err != nil {
		return err
	}
	public, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return err
	}
	wanted, err := ours.ECDH(public)
	if err != nil {
		return err
	}
	body := join(number(1, ecdhNumber), blob(2, []byte("ecdh")), blob(3, ours.PublicKey().Bytes()))
	shared, err := c.first(opRawKeyAgreement, body)
	return errors.Join(err, must(bytes.Equal(shared, wanted), "another shared secret"))
}

func hashes(c client) error {
	sum256, sum384, sum512 := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	for algorithm, wanted := range map[uint64][]byte{
		sha256Number: sum256[:], sha384Number: sum384[:], sha512Number: sum512[:],
	} {
		digest, err := c.first(opHashCompute, join(number(1, algorithm), blob(2, message)))
		if c.provider == pkcs11 {
			if err := refused(err, statusNotSupported); err != nil {
				return err
			}
			continue
		}
		if err != nil || !bytes.Equal(digest, wanted) {
			return fmt.Errorf("hash %d is %x, %v", algorithm, digest, err)
		}
		compare := join(number(1, algorithm), blob(2, message))
		if _, err := c.call(c.provider, opHashCompare, join(compare, blob(3, wanted))); err != nil {
			return err
		}
		wanted[0] ^= 1
		_, err = c.call(c.provider, opHashCompare, join(compare, blob(3, wanted)))
		if err := refused(err, statusInvalidSignature); err != nil {
			return err
		}
	}
	return nil
}

func randomBytes(c client) error {
	seen := map[string]bool{}
	for i := 0; i < 100; i++ {
		got, err := c.first(opGenerateRandom, number(1, 32))
		if err != nil || len(got) != 32 || seen[string(got)] {
			return fmt.Errorf("%x, %v", got, err)
		}
		seen[string(got)] = true
	}
	return nil
}

func exports(c client) error {
	secret := bytes.Repeat([]byte{7}, 32)
	permitted := attributes(typeAes, 256, join(number(1, 1), usageCrypt), aead(algGcm))
	if err := c.importKey("exported", permitted, secret); err != nil {
		return err
	}
	defer c.destroy("exported")
	got, err := c.first(opExportKey, name("exported"))
	if err != nil || !bytes.Equal(got, secret) {
		return fmt.Errorf("%x, %v", got, err)
	}
	if err := c.importKey("kept", attributes(typeAes, 256, usageCrypt, aead(algGcm)), secret); err != nil {
		return err
	}
	defer c.destroy("kept")
	_, err = c.first(opExportKey, name("kept"))
	return refused(err, statusNotPermitted)
}

func canDoCrypto(c client) error {
	good := attributes(typeP256, 256, usageSign, signature(algEcdsa))
	for check := uint64(1); check <= 3; check++ {
		if _, err := c.call(c.provider, opCanDoCrypto, join(number(1, check), blob(2, good))); err != nil {
			return err
		}
	}
	odd := attributes(typeRsa, 2048, usageSign, signature(algEcdsa))
	_, err := c.call(c.provider, opCanDoCrypto, join(number(1, 1), blob(2, odd)))
	return refused(err, statusNotSupported)
}

func kept(c client) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; i < 50; i++ {
		if _, err := conn.Write(request(c.provider, opGenerateRandom, number(1, 16), keepAlive)); err != nil {
			return err
		}
		body, err := readResponse(conn, c.provider, opGenerateRandom)
		if err != nil {
			return err
		}
		if f, err := find(body, 1); err != nil || len(f.bytes) != 16 {
			return fmt.Errorf("%x, %v", body, err)
		}
	}
	return nil
}
