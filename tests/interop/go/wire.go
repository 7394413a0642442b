package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// The header of requests and responses: 36 bytes, packed, little endian.
const (
	magic      = 0x5EC0A710
	headerSize = 30
	headerLen  = 36
	keepAlive  = 0x8000
	unixPeer   = 3
	pkcs11     = 2
	timeout    = 30 * time.Second
)

const (
	opPing              = 0x01
	opGenerateKey       = 0x02
	opDestroyKey        = 0x03
	opSignHash          = 0x04
	opVerifyHash        = 0x05
	opImportKey         = 0x06
	opExportPublicKey   = 0x07
	opListProviders     = 0x08
	opListOpcodes       = 0x09
	opAsymmetricEncrypt = 0x0A
	opAsymmetricDecrypt = 0x0B
	opExportKey         = 0x0C
	opGenerateRandom    = 0x0D
	opListAuthenticator = 0x0E
	opHashCompute       = 0x0F
	opHashCompare       = 0x10
	opAeadEncrypt       = 0x11
	opAeadDecrypt       = 0x12
	opRawKeyAgreement   = 0x13
	opListKeys          = 0x1A
	opCanDoCrypto       = 0x20
)

const (
	statusNotPermitted     = 1133
	statusNotSupported     = 1134
	statusAlreadyExists    = 1139
	statusDoesNotExist     = 1140
	statusInvalidSignature = 1149
)

// client sends each request over a connection of its own.
type client struct {
	path     string
	provider byte
}

// statusError is a response whose status is not success.
type statusError struct{ opcode, status uint32 }

func (e statusError) Error() string {
	return fmt.Sprintf("operation %#x: status %d", e.opcode, e.status)
}

func request(provider byte, opcode uint32, body []byte, flags uint16) []byte {
	auth := binary.LittleEndian.AppendUint32(nil, uint32(os.Geteuid()))
	out := make([]byte, headerLen, headerLen+len(body)+len(auth))
	binary.LittleEndian.PutUint32(out[0:], magic)
	binary.LittleEndian.PutUint16(out[4:], headerSize)
	out[6] = 1
	binary.LittleEndian.PutUint16(out[8:], flags)
	out[10] = provider
	binary.LittleEndian.PutUint64(out[11:], 0x0102030405060708)
	out[21] = unixPeer
	binary.LittleEndian.PutUint32(out[22:], uint32(len(body)))
	binary.LittleEndian.PutUint16(out[26:], uint16(len(auth)))
	binary.LittleEndian.PutUint32(out[28:], opcode)
	return append(append(out, body...), auth...)
}

// readResponse reads one response to a request and checks every field of its header.
func readResponse(from io.Reader, provider byte, opcode uint32) ([]byte, error) {
	h := make([]byte, headerLen)
	if _, err := io.ReadFull(from, h); err != nil {
		return nil, err
	}
	fixed := binary.LittleEndian.Uint32(h) == magic && binary.LittleEndian.Uint16(h[4:]) == headerSize &&
		h[6] == 1 && h[7] == 0 && binary.LittleEndian.Uint16(h[8:]) == 0 && h[19] == 0 && h[20] == 0 && h[21] == 0 &&
		binary.LittleEndian.Uint16(h[26:]) == 0 && h[34] == 0 && h[35] == 0
	echo := h[10] == provider && binary.LittleEndian.Uint64(h[11:]) == 0x0102030405060708 &&
		binary.LittleEndian.Uint32(h[28:]) == opcode
	if !fixed || !echo {
		return nil, fmt.Errorf("response header %x", h)
	}
	body := make([]byte, binary.LittleEndian.Uint32(h[22:]))
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, err
	}
	if status := binary.LittleEndian.Uint16(h[32:]); status != 0 {
		if len(body) != 0 {
			return nil, errors.New("an error with a body")
		}
		return nil, statusError{opcode, uint32(status)}
	}
	return body, nil
}

func (c client) dial() (net.Conn, error) {
	conn, err := net.Dial("unix", c.path)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(timeout))
	}
	return conn, err
}

// call sends one request in one write and reads until the end of the stream, as the Go client of Parsec does.
func (c client) call(provider byte, opcode uint32, body []byte) ([]byte, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(request(provider, opcode, body, 0)); err != nil {
		return nil, err
	}
	result, err := readResponse(conn, provider, opcode)
	if rest, end := io.ReadAll(conn); end != nil || len(rest) != 0 {
		return nil, fmt.Errorf("after the response: %d bytes, %v", len(rest), end)
	}
	return result, err
}

// Protobuf by hand: what the operations need of it.

type field struct {
	number int
	value  uint64
	bytes  []byte
}

func number(n int, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)<<3), value)
}

func blob(n int, parts ...[]byte) []byte {
	content := join(parts...)
	out := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)<<3|2), uint64(len(content)))
	return append(out, content...)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

func parse(message []byte) ([]field, error) {
	var out []field
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errors.New("protobuf: a field's key")
		}
		message = message[n:]
		value, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errors.New("protobuf: a field's value")
		}
		message = message[n:]
		f := field{number: int(key >> 3), value: value}
		switch key & 7 {
		case 0:
		case 2:
			if value > uint64(len(message)) {
				return nil, errors.New("protobuf: a length beyond the end")
			}
			f.bytes, message = message[:value], message[value:]
		default:
			return nil, fmt.Errorf("protobuf: wire type %d", key&7)
		}
		out = append(out, f)
	}
	return out, nil
}

func find(message []byte, n int) (field, error) {
	fields, err := parse(message)
	for _, f := range fields {
		if f.number == n {
			return f, err
		}
	}
	return field{}, err
}
