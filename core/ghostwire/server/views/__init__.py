"""What each node is told of the mesh: its map as a whole once, then what changed in it (list and watch), by labels.

**Who sees what.** The policy in force puts every node somewhere: its `Standing` is the set of labels that it carries,
and whose it is (`roster`). Rules lead from labels to labels (`server.policy.rulebook`). Two nodes see each other where
a rule leads from a label of one to a label of the other (`server.policy.sight`), so who is concerned by a node is found
by its labels, never by asking every viewer. What a viewer sees *by* is its `Lens`: the rules that it is told, the sets
that these name, the labels of its own that they lead to. Two of one standing have one lens.

**What there is to tell.** Nodes, routes and relays look the same to all who see them, and so do rules and sets, each
encoded once (`scene`). Only a set of a rule with `own` is cut to its viewer's user; every untagged node is told all
rules with `own`.

**Watch.** `changes` takes one record or policy to where it belongs, and marks whom that concerns with *keys*: a key
names an object, not what became of it (`outbox`).

    another node looks otherwise        who sees it                       Key("node")
    it carries other labels             who came to see it or ceased to   Key("node")
                                        holders of those labels' sets     Key("place")
    the viewer does, or the policy is   the viewer: its lens ``before`` is kept, to be told the difference
    another and changes its lens

Every 50 ms `fanout` reads the outboxes that hold anything: `telling` says what each key means for this viewer *by now*
(an object, its removal, a place in a set), and those who lack the same share one encoded frame. So a slow reader is
owed at most one of each object, however often it changed; and a viewer whom nothing concerns costs nothing.

**List, and coming back.** A viewer comes with the cursor that it was told last: a revision of the change log, its mark,
how far this start of the server had told it (a tick), the highest node id by then, and a digest of its lens. Where it
still sees by the same, `telling` reads what it missed from `history`, which keeps in which order objects changed, and
where nodes and routes stood before: who would have seen one there is told that it is gone. After a restart `loading`
makes that history from the change log, which seldom says where something stood: then whoever may have known a node is
told that it is gone. In all other cases (another lens, another history, one too old) the whole map is told.
"""
