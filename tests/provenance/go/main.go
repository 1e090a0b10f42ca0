// Checks a sealed log with golang.org/x/mod/sumdb: notes with its note, proofs and tiles with its tlog.
//
// It reads one JSON object from stdin and writes one to stdout: what it refuses, by name, and a note of its
// own under a fresh key, for us to open.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type inclusion struct {
	Size, Index int64
	Root, Leaf  tlog.Hash
	Hashes      []tlog.Hash
}

type consistency struct {
	Old, New         int64
	OldRoot, NewRoot tlog.Hash
	Hashes           []tlog.Hash
}

type asked struct {
	Key         string
	Notes       []string
	Inclusion   []inclusion
	Consistency []consistency
	Tiles       map[string][]byte // by the path that C2SP gives them
	Leaves      []tlog.Hash
}

type answer struct {
	Faults []string
	Key    string
	Note   string
}

func main() {
	var given asked
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	told := answer{Faults: []string{}}
	refuse := func(what string, err error) {
		if err != nil {
			told.Faults = append(told.Faults, what+": "+err.Error())
		}
	}
	var trees []tlog.Tree
	for i, text := range given.Notes {
		tree, err := open(text, given.Key)
		refuse(fmt.Sprintf("note %d", i), err)
		trees = append(trees, tree)
	}
	for i, p := range given.Inclusion {
		err := tlog.CheckRecord(p.Hashes, p.Size, p.Root, p.Index, p.Leaf)
		refuse(fmt.Sprintf("inclusion %d", i), err)
	}
	for i, p := range given.Consistency {
		err := tlog.CheckTree(p.Hashes, p.New, p.NewRoot, p.Old, p.OldRoot)
		refuse(fmt.Sprintf("consistency %d", i), err)
	}
	if given.Tiles != nil && len(trees) > 0 {
		refuse("tiles", checkTiles(trees[len(trees)-1], given))
	}
	told.Key, told.Note = signed()
	_ = json.NewEncoder(os.Stdout).Encode(told)
}

// open returns the tree of a checkpoint that key signed.
func open(text, key string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// tiles serves what was given; its heights are all 8, which C2SP leaves out of the path.
type tiles map[string][]byte

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, ok := t[path]
		if !ok {
			return nil, fmt.Errorf("no %s", path)
		}
		found = append(found, data)
	}
	return found, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// checkTiles reads every leaf through the tiles, which tlog checks against the tree, and proves it anew.
func checkTiles(tree tlog.Tree, given asked) error {
	reader := tlog.TileHashReader(tree, tiles(given.Tiles))
	for i, leaf := range given.Leaves {
		found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
		if err != nil {
			return err
		}
		if found[0] != leaf {
			return fmt.Errorf("leaf %d is %v, not %v", i, found[0], leaf)
		}
	}
	for i, p := range given.Inclusion {
		if p.Size != tree.N {
			continue
		}
		proof, err := tlog.ProveRecord(p.Size, p.Index, reader)
		if err != nil {
			return err
		}
		if fmt.Sprint(proof) != fmt.Sprint(p.Hashes) {
			return fmt.Errorf("proof %d of leaf %d is another: %v, not %v", i, p.Index, p.Hashes, proof)
		}
	}
	return nil
}

// signed returns a note of our own and the key that it is signed by.
func signed() (key, text string) {
	secret, key, err := note.GenerateKey(rand.Reader, "go.example/log")
	if err != nil {
		panic(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	made, err := note.Sign(&note.Note{Text: "go.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"}, signer)
	if err != nil {
		panic(err)
	}
	return key, string(made)
}
